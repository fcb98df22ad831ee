"""What a rollout, its undo, or an operation on one database would do: shown before it is done.

The values are those that the API answers.
"""

from collections.abc import Mapping
from typing import Any

import click

from headway.cli.fleet.sections import time_text
from headway.cli.output import counted, echo, print_json, print_table


def show_preview(found: Mapping[str, Any], as_json: bool, *, sql: bool) -> None:
    """Print the plans, their risks, and who is left out."""
    if as_json:
        print_json(found)
        return
    print_table(("databases", "dialect", "current", "ends", "steps"), map(_group, found["groups"]))
    for group in found["groups"]:
        if group["why"]:
            where = f"{group['dialect'] or 'unknown'} at {group['current'] or 'nothing'}"
            echo(f"{where}: {group['why']}")
    for risk in _risks(found):
        echo(f"! {risk}")
    for skipped in found["skipped"]:
        echo(f"Left out: {skipped['databases']:,}, {skipped['why']}")
    waves = ", ".join(f"{size:,}" for size in found["waves"])
    how = "in one wave" if len(found["waves"]) == 1 else f"in waves of {waves}"
    if found["is_done"]:
        echo(_done(found))
    elif not found["total"]:
        echo("No database.")
    else:
        echo(f"{counted(found['total'], 'database')}{f', {how}' if waves else ''}")
    if sql:
        for group in found["groups"]:
            where = f"{group['dialect']} at {group['current'] or 'nothing'}"
            echo(f"\n-- {where}: {group['databases']:,}")
            echo(group["sql"] or f"-- no SQL: {group['why'] or 'nothing is sent'}")


def show_done(found: Mapping[str, Any], as_json: bool) -> None:
    """Nothing to do is success."""
    if as_json:
        print_json(found)
    else:
        echo(_done(found))


def require_database(found: Mapping[str, Any]) -> None:
    """Refuse what no database would take part in."""
    if not found["total"]:
        why = "; ".join(f"{one['databases']} {one['why']}" for one in found["skipped"])
        raise click.ClickException(
            f"No database takes part: {why or 'no database matches the selection'}."
        )


def failed_rehearsal(progress: Mapping[str, Any]) -> str | None:
    """What the last rehearsal of a rollout found, if a database failed."""
    rehearsed = progress["rehearsal"]
    if rehearsed is None or not rehearsed["failed"]:
        return None
    some = f"{rehearsed['failed']:,} of {rehearsed['total']:,} databases failed"
    ended = rehearsed.get("last_at")
    at = f" It ended {time_text(ended)}." if ended else ""
    return f"In its rehearsal {some}.{at}"


def warn_of_rehearsal(progress: Mapping[str, Any]) -> str | None:
    """Print what the last rehearsal found, to the standard error. Returns it; None if nothing."""
    if rehearsal := failed_rehearsal(progress):
        echo(f"! {rehearsal}", err=True)
    return rehearsal


def show_plan(plan: Mapping[str, Any]) -> None:
    """Print the steps of one database, and their risks."""
    for step in plan["steps"]:
        echo(f"{step['revision']} {step['message']}")
        for risk in step["risks"]:
            echo(f"! {step['revision']} {risk}")
    if plan["more"]:
        echo(f"and {counted(plan['more'], 'further step')}")
    if plan["why_not"]:
        echo(plan["why_not"])


def _done(found: Mapping[str, Any]) -> str:
    parts = (f"{one['databases']:,} {one['why']}" for one in found["skipped"])
    return f"Nothing to do: {'; '.join(parts)}."


def _risks(found: Mapping[str, Any]) -> dict[str, None]:
    """All risks, each with its revision and said once."""
    steps = [step for group in found["groups"] for step in group["steps"]]
    return dict.fromkeys(f"{step['revision']} {risk}" for step in steps for risk in step["risks"])


def _group(group: Mapping[str, Any]) -> tuple[str, ...]:
    steps = " ".join(step["revision"] for step in group["steps"])
    return (
        *(f"{group['databases']:,}", group["dialect"] or "?", group["current"] or "nothing"),
        *(group["ends"] or ("nothing" if group["ends"] == "" else ""), steps),
    )
