"""`flask headway`: where an app's databases stand, and what repairs them."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import wraps
from typing import Any

import click
from flask import current_app

from headway import history as records
from headway.boot.readiness import require_head
from headway.cli.output import as_json, echo, print_json, print_table, text
from headway.cli.repair import confirm, repair_options
from headway.database import Database
from headway.errors import DatabaseBehind, DatabaseUnreachable, HeadwayError
from headway.exit_codes import Exit
from headway.flask.databases import STATE, State
from headway.flask.groups import CommandGroup
from headway.status import ask
from headway.types import Position, Status, Verdict

STEP = re.compile(r"`(adopt|downgrade|repair|upgrade)`")
"""A command as the next steps name it."""
Command = Callable[..., Any]
"""What click runs."""


def group(
    name: str,
    *,
    about: str = "Show and repair the databases of this app.",
    several: bool = True,
    next_steps: Mapping[Position, str] | None = None,
    cls: type[CommandGroup] = CommandGroup,
) -> CommandGroup:
    """The group of commands, by this name. None of them migrates, except `upgrade`."""
    bind = click.Option(["--bind"], metavar="NAME", help="Which database, if there are several.")
    found = cls(name, help=about, params=[bind] if several else [])
    for command in (validate, repair, wait, history, adopt, upgrade):
        found.add_command(command)
    found.add_command(_status(next_steps))
    return found


def _state() -> State:
    return current_app.extensions[STATE]  # type: ignore[no-any-return]


def on_one(command: Command) -> Command:
    """The command gets one database: the one that `--bind` of its group names."""

    @wraps(command)
    def with_database(*args: Any, **kwargs: Any) -> Any:
        context = click.get_current_context().parent
        return command(_chosen((context and context.params.get("bind")) or None), *args, **kwargs)

    return with_database


def _chosen(bind: str | None) -> Database:
    databases = _state().databases
    names = ", ".join(databases)
    if bind is None and len(databases) > 1:
        group = click.get_current_context().parent
        path = group.command_path if group else ""
        raise click.UsageError(f"Which database? Say `{path} --bind NAME`, one of: {names}.")
    if bind is not None and bind not in databases:
        raise click.UsageError(f"There is no database {bind}; there are: {names}.")
    return (databases[bind] if bind is not None else _state().first).database


def _status(next_steps: Mapping[Position, str] | None) -> click.Command:
    @click.command()
    @on_one
    @as_json
    @click.option(
        "--check", is_flag=True, help="Exit with 3 unless it is at head and has no problems."
    )
    def status(database: Database, as_json: bool, check: bool) -> None:
        """Show the position of the database, and what to do next."""
        found, holder = _reached(database), database.lock_holder()
        if as_json:
            print_json(asdict(found) | {"lock": holder.as_json() if holder else None})
        else:
            step = found.next_step if next_steps is None else next_steps[found.position]
            _show(found, holder, STEP.sub(_command_in(database), step))
        if check and (found.position is not Position.AT_HEAD or _problems(found)):
            raise click.exceptions.Exit(Exit.FOUND)

    return status


def _command_in(database: Database) -> Callable[[re.Match[str]], str]:
    return lambda found: f"`{database.policy.words.command(found[1])}`"


def _reached(database: Database) -> Status:
    """Where it stands. Raises DatabaseUnreachable."""
    return ask(database.project, database.address, database.x, database.policy)


def _show(status: Status, holder: Any, next_step: str) -> None:
    rows = [
        ("position", status.position.value.replace("_", " ")),
        ("current", ", ".join(status.current) or "none"),
        ("head", ", ".join(status.heads)),
        ("pending", ", ".join(status.pending) or "none"),
    ]
    if holder:
        rows.append(("locked by", str(holder)))
    print_table(("", ""), rows)
    for line in [*_problems(status), next_step]:
        if line:
            echo(line)


@click.command()
@on_one
@as_json
def validate(database: Database, as_json: bool) -> None:
    """Compare the scripts with those that made the database. Exits with 3 if they differ."""
    found = _reached(database)
    problems = _problems(found)
    if as_json:
        names = ("edited", "missing", "out_of_order", "torn")
        print_json({name: getattr(found, name) for name in names})
    else:
        subject = database.policy.words.subject.removeprefix("the ") or "database"
        for line in problems or [f"The scripts are the ones that made this {subject}."]:
            echo(line)
    if problems:
        raise click.exceptions.Exit(Exit.FOUND)


def _problems(status: Status) -> list[str]:
    return [
        *(f"torn: {r} began and never ended" for r in filter(None, [status.torn])),
        *(f"edited: {r} was applied with another script" for r in status.edited),
        *(f"missing: {r} was applied and has no script" for r in status.missing),
        *(f"out of order: {r} was inserted below and never applied" for r in status.out_of_order),
    ]


@click.command()
@on_one
@repair_options
def repair(database: Database, verdict: Verdict | None, yes: bool, dry_run: bool) -> None:
    """Undo the applied half of a torn revision; accept edited and missing scripts."""
    confirm(database.plan_repair(verdict), database.repair, yes=yes, dry_run=dry_run)


@click.command()
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait at most.")
def wait(timeout: float) -> None:
    """Wait until each database is reachable and at head. Exits with 75 if that takes too long.

    For a job or an init container that starts with the service and needs its database.
    """
    deadline = time.monotonic() + timeout
    for one in _state().databases.values():
        database = one.database
        words = database.policy.words
        while True:
            try:
                require_head(database)
            except HeadwayError as error:
                if not isinstance(error, (words.kind(DatabaseBehind), DatabaseUnreachable)):
                    raise
                if time.monotonic() > deadline:
                    raise DatabaseUnreachable(f"{error} Waited {timeout:g} s.") from error
            else:
                echo(f"{words.name(database.address)} is at head.")
                break
            time.sleep(0.5)


@click.command()
@on_one
@as_json
@click.option("--limit", type=int, help="How many of the newest entries.")
def history(database: Database, as_json: bool, limit: int | None) -> None:
    """Show the migrations of the database: when, how long, by which release and host."""
    rows = database.history(limit)
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


def _utc(row: records.Row) -> str:
    return f"{row.started_at.isoformat()}Z"


@click.command()
@on_one
def adopt(database: Database) -> None:
    """Find the revision whose schema an unstamped database has, and stamp it."""
    match = database.adopt()
    name = database.policy.words.name(database.address)
    echo(f"{name} is at {', '.join(match.revisions) or 'base'}.")


@click.command()
def upgrade() -> None:
    """Bring each database to head, as a boot does: for an init container or a job."""
    state = _state()
    for one in state.databases.values():
        done = state.bring_to_head(one, booted=False, migrate=True)
        name = one.database.policy.words.name(one.database.address)
        echo(f"{name} is at {', '.join(done.after.current)}.")
