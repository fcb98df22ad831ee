"""What the command line answers: exit codes, tables, JSON."""

import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import click

from headway.error_text import visible
from headway.errors import HeadwayError
from headway.exit_codes import EXIT_OF

if TYPE_CHECKING:
    from headway.database import Database


class Number(click.IntRange):
    """A click type: an integer, with an error message in plain English."""

    name = "number"


as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def paged(command: Any) -> Any:
    """The options by which a command takes a page of a list."""
    limit = click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
    after = click.option(
        "--after", type=click.IntRange(0), help="Begin after this: `next` of the previous page."
    )
    return limit(after(command))


class Refusal(click.ClickException):
    """An error of ours, shown as its sentence, with the exit code of its kind."""

    def __init__(self, error: HeadwayError) -> None:
        super().__init__(visible(str(error)))
        self.exit_code = EXIT_OF[error.kind]  # type: ignore[misc]  # click reads it here


def echo(message: object = "", *, err: bool = False) -> None:
    """Print a line. Control characters of a database's or a script's text are written out."""
    click.echo(visible(str(message)), err=err)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table on a terminal; elsewhere the same rows, tab between the cells."""
    if not on_terminal():
        for row in ([columns] if any(columns) else []) + list(rows):
            echo("\t".join(row))
        return
    # `flask` loads our commands whenever one of its own runs: not at the price of this.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(*columns, show_header=any(columns), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))  # a name like `[/b]` is no markup
    Console().print(table)


def print_list(
    rows: Sequence[Mapping[str, Any]],
    following: int | None,
    columns: Sequence[str],
    cells: Iterable[Sequence[str]] | None = None,
    *,
    as_json: bool,
) -> None:
    """A page of a list, and where the next one begins.

    `cells`: those of each row as a person reads them, if they are not its values by these columns.
    """
    if as_json:
        print_json({"items": rows, "next": following})
        return
    print_table(columns, cells or [[text(row[name]) for name in columns] for row in rows])
    print_more(following)


def print_more(following: int | None) -> None:
    """Say where the next page of a list begins, if there is one."""
    if following:
        echo(f"More: --after {following}", err=True)


def print_record(row: Mapping[str, Any], *, as_json: bool) -> None:
    """One thing: a line for each of its values, or JSON."""
    if as_json:
        print_json(row)
        return
    print_table(("", ""), [(name, text(value)) for name, value in row.items()])


def print_json(body: Any) -> None:
    """For programs: indented JSON, times in ISO 8601."""
    click.echo(json.dumps(body, indent=2, default=_plain))


def asks(*, yes: bool) -> bool:
    """True if somebody is there to be asked, and has not said yes already."""
    return not yes and sys.stdin.isatty()


def counted(number: int, thing: str) -> str:
    """`1 database`, `1,200 databases`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def on_terminal() -> bool:
    """True if a person reads it; what is written elsewhere is whole."""
    if not (sys.stdout.isatty() or {"FORCE_COLOR", "TTY_COMPATIBLE"} & os.environ.keys()):
        return False  # as rich would say, which a program that reads us need not wait for
    try:
        from rich.console import Console  # noqa: PLC0415
    except ModuleNotFoundError:  # where only `flask` is installed beside us: a plain table
        return False
    return Console().is_terminal


@contextmanager
def without_log(name: str) -> Iterator[None]:
    """Suppress log records that would repeat what the command prints."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def text(value: object) -> str:
    """A value as a person reads it. Times are UTC, the same everywhere."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=UTC)
        return f"{aware.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(str(one) for one in value)
    return "" if value is None else str(value)


def _plain(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def show_current(
    database: "Database", current: tuple[str, ...], *, as_json: bool, how: str = "is at"
) -> None:
    """Print where a database is now."""
    if as_json:
        print_json({"database": str(database.address), "current": current})
    else:
        echo(f"{database.address} {how} {', '.join(current) or 'base'}.")
