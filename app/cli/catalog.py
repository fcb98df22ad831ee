"""`flask catalog`: show and repair Headway's own database. No command here migrates it."""

import time
from dataclasses import asdict
from typing import Any

import click

from app import boot
from app.cli.actor import command_line
from app.cli.groups import CommandGroup
from app.errors import CatalogBehind
from app.extensions import headway
from app.fleet.core import key_rotation
from app.fleet.reports import service
from headway import history as records
from headway.cli.output import as_json, echo, paged, print_json, print_table, text
from headway.cli.repair import confirm, repair_options
from headway.errors import DatabaseUnreachable
from headway.execution.repair import Verdict
from headway.exit_codes import Exit
from headway.status import ask
from headway.types import Position, Status

NEXT_STEP = {
    Position.AT_HEAD: "",
    Position.BEHIND: "Start the service, or run `flask db upgrade`.",
    Position.EMPTY: "Start the service, or run `flask db upgrade`.",
    Position.AHEAD: "A newer release migrated it. Start that one, or run this one degraded.",
    Position.DIVERGED: "Another release migrated it and lacks revisions of this one. Use that one.",
    Position.UNSTAMPED: "Start the service: it finds the revision that has this schema.",
    Position.TORN: "Run `flask catalog repair`.",
    Position.FOREIGN: "This is another program's database: check HEADWAY_DATABASE_URL.",
    Position.UNREACHABLE: "Start the database server, or check HEADWAY_DATABASE_URL.",
}

BOOT = ("id", "at", "release", "revision_from", "revision_to", "state", "seconds", "host", "pid")

catalog = CommandGroup("catalog", help="Show and repair the catalog, Headway's own database.")


@catalog.command()
@as_json
@click.option("--check", is_flag=True, help="Exit with 3 unless the catalog is at head and sound.")
def status(as_json: bool, check: bool) -> None:
    """Show the position of the catalog, and what to do next."""
    seen = _reached()
    holder = headway.database.lock_holder()
    if as_json:
        print_json(asdict(seen) | {"lock": holder.as_json() if holder else None})
    else:
        _show(seen, holder)
    if check and (seen.position is not Position.AT_HEAD or _problems(seen)):
        raise click.exceptions.Exit(Exit.FOUND)


def _reached() -> Status:
    """Where the catalog stands. Raises DatabaseUnreachable."""
    one = headway.database
    return ask(one.project, one.address, one.x, one.policy)


def _show(seen: Status, holder: Any) -> None:
    rows = [
        ("position", seen.position.value.replace("_", " ")),
        ("current", ", ".join(seen.current) or "none"),
        ("head", ", ".join(seen.heads)),
        ("pending", ", ".join(seen.pending) or "none"),
    ]
    if holder:
        rows.append(("locked by", str(holder)))
    print_table(("", ""), rows)
    for line in [*_problems(seen), NEXT_STEP[seen.position]]:
        if line:
            echo(line)


@catalog.command()
@as_json
def validate(as_json: bool) -> None:
    """Compare the scripts with those that made the catalog. Exits with 3 if they differ."""
    seen = _reached()
    problems = _problems(seen)
    if as_json:
        print_json(
            {
                "edited": seen.edited,
                "missing": seen.missing,
                "out_of_order": seen.out_of_order,
                "torn": seen.torn,
            }
        )
    else:
        for line in problems or ["The scripts are the ones that made this catalog."]:
            echo(line)
    if problems:
        raise click.exceptions.Exit(Exit.FOUND)


def _problems(seen: Status) -> list[str]:
    return [
        *(f"torn: {r} began and never ended" for r in filter(None, [seen.torn])),
        *(f"edited: {r} was applied with another script" for r in seen.edited),
        *(f"missing: {r} was applied and has no script" for r in seen.missing),
        *(f"out of order: {r} was inserted below and never applied" for r in seen.out_of_order),
    ]


@catalog.command()
@repair_options
def repair(verdict: Verdict | None, yes: bool, dry_run: bool) -> None:
    """Undo the applied half of a torn revision; accept edited and missing scripts."""
    one = headway.database
    confirm(one.plan_repair(verdict), one.repair, yes=yes, dry_run=dry_run)


@catalog.command("rotate-keys")
@as_json
def rotate_keys(as_json: bool) -> None:
    """Encrypt every secret again, with the first of HEADWAY_ENCRYPTION_KEYS.

    Exits with 3 if some secrets cannot be decrypted with any of the keys.
    """
    done = key_rotation.rotate_keys(command_line())
    if as_json:
        print_json(asdict(done))
    else:
        echo(f"Encrypted {done.renewed:,} again; {done.fresh:,} had the first key already.")
        if done.unreadable:
            echo(f"{done.unreadable:,} cannot be decrypted: add their key.", err=True)
    if done.unreadable:
        raise click.exceptions.Exit(Exit.FOUND)


@catalog.command()
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait at most.")
def wait(timeout: float) -> None:
    """Wait until the catalog is reachable and at head. Exits with 75 if that takes too long.

    For a job or an init container that starts with the service and needs its catalog.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            boot.require_head()
        except (CatalogBehind, DatabaseUnreachable) as error:
            if time.monotonic() > deadline:
                raise DatabaseUnreachable(f"{error} Waited {timeout:g} s.") from error
        else:
            echo("The catalog is at head.")
            return
        time.sleep(0.5)


@catalog.command()
@as_json
@click.option("--limit", type=int, help="How many of the newest entries.")
def history(as_json: bool, limit: int | None) -> None:
    """Show the migrations of the catalog: when, how long, by which release and host."""
    rows = headway.database.history(limit)
    if as_json:
        print_json([asdict(row) | {"started_at": _utc(row)} for row in rows])
        return
    print_table(
        ("when", "revision", "action", "outcome", "ms", "release", "host", "error"),
        [
            (
                text(row.started_at),
                row.revision,
                row.action,
                row.outcome,
                str(row.duration_ms if row.duration_ms is not None else ""),
                row.release or "",
                f"{row.host}:{row.pid}",
                (row.error or "").splitlines()[0] if row.error else "",
            )
            for row in rows
        ],
    )


@catalog.command()
@paged
@as_json
def boots(as_json: bool, limit: int, after: int | None) -> None:
    """Show the successful starts, newest first: the release and the revisions before and after."""
    found, following = service.list_boots(command_line(), limit=limit, after=after)
    rows = [{name: getattr(one, name) for name in BOOT} for one in found]
    if as_json:
        print_json({"items": rows, "next": following})
        return
    print_table(BOOT, [[text(value) for value in row.values()] for row in rows])
    if following:
        echo(f"More: --after {following}", err=True)


def _utc(row: records.Row) -> str:
    return f"{row.started_at.isoformat()}Z"
