"""What a rollout, or its undo, would do: shown before it is asked for."""

from app.cli import rollout_progress
from app.fleet import rollouts as fleet
from app.fleet.core.permissions import Actor
from app.fleet.rollouts import progress
from headway.cli.output import counted, echo, print_json, print_table


def show_preview(found: fleet.Preview, as_json: bool, *, sql: bool) -> None:
    """Print the plans, their risks, and who is left out."""
    if as_json:
        print_json(rollout_progress.json_of(found))
        return
    print_table(("databases", "dialect", "current", "ends", "steps"), map(_group, found.groups))
    for group in found.groups:
        if group.why:
            where = f"{group.dialect or 'unknown'} at {group.current or 'nothing'}"
            echo(f"{where}: {group.why}")
    for risk in found.risks:
        echo(f"! {risk}")
    for skipped in found.skipped:
        echo(f"Left out: {skipped.databases:,}, {skipped.why}")
    waves = ", ".join(f"{size:,}" for size in found.waves)
    how = "in one wave" if len(found.waves) == 1 else f"in waves of {waves}"
    if found.is_done:
        echo(_done(found))
    elif not found.total:
        echo("No database.")
    else:
        echo(f"{counted(found.total, 'database')}{f', {how}' if waves else ''}")
    if sql:
        for group in found.groups:
            echo(f"\n-- {group.dialect} at {group.current or 'nothing'}: {group.databases:,}")
            echo(group.sql or f"-- no SQL: {group.why or 'nothing is sent'}")


def _done(found: fleet.Preview) -> str:
    parts = (f"{one.databases:,} {one.why}" for one in found.skipped)
    return f"Nothing to do: {'; '.join(parts)}."


def show_done(found: fleet.Preview, as_json: bool) -> None:
    """Nothing to do is success."""
    if as_json:
        print_json(rollout_progress.json_of(found))
    else:
        echo(_done(found))


def failed_rehearsal(actor: Actor, rollout_id: int) -> str | None:
    """What its last rehearsal found, if a database failed."""
    rehearsed = progress.progress(actor, rollout_id).rehearsal
    if rehearsed is None or not rehearsed.failed:
        return None
    return f"In its rehearsal {rehearsed.failed:,} of {rehearsed.total:,} databases failed."


def _group(group: fleet.PreviewGroup) -> tuple[str, ...]:
    steps = " ".join(step.revision for step in group.steps)
    return (
        *(f"{group.databases:,}", group.dialect or "?", group.current or "nothing"),
        *(group.ends or ("nothing" if group.ends == "" else ""), steps),
    )
