"""The options that select databases, and the columns of a database."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from app.cli.actor import command_line
from app.errors import InputInvalid
from app.fleet import accounts, projects
from app.fleet.core.selectors import POSITIONS, Selector
from app.models import Database, Strategy

COLUMNS = (
    *("id", "project_id", "project", "name", "notes", "address", "reference", "dialect", "server"),
    *("owner_id", "owner", "labels", "x", "strategy", "pin_reason", "pin_until", "rollout_id"),
    *("position", "current", "pending", "size_bytes", "milliseconds", "reason"),
    *("asked_at", "seen_at", "drift", "drift_at", "retired_at"),
    *("version", "created_at", "updated_at"),
)


def labels_of(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Parse `tier=gold`; in a selector, `tier` alone means any value."""
    return {name: value for name, _, value in (given.partition("=") for given in values)}


def x_option(help: str) -> Callable[..., Any]:  # noqa: A002
    """The option `-x`: Alembic's arguments, `k=v`, or `k` for an empty value."""
    more = "May hold {name}, {schema}, {database}, {label.NAME}, of each database."
    return click.option(
        *("-x", "--x", "x"),
        multiple=True,
        callback=labels_of,
        metavar="K=V",
        help=f"{help} {more}",
    )


def chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: options that select databases. The command gets a Selector as first argument."""

    @click.option("--project", help="A name or id.")
    @click.option("--label", "labels", multiple=True, callback=labels_of, metavar="NAME[=VALUE]")
    @click.option("--owner", help="An account's id or e-mail address.")
    @click.option("--position", "positions", multiple=True, type=click.Choice(POSITIONS))
    @click.option("--current", help="The current revisions, joined by +.")
    @click.option("--search", help="Part of the name or address.")
    @click.option("--drifted/--not-drifted", default=None)
    @click.option("--pinned/--not-pinned", default=None)
    @click.option("--strategy-is", type=click.Choice([one.value for one in Strategy]))
    @wraps(command)
    def with_selector(
        *args: Any,
        project: str | None,
        labels: dict[str, str],
        owner: str | None,
        positions: tuple[str, ...],
        current: str | None,
        search: str | None,
        drifted: bool | None,
        pinned: bool | None,
        strategy_is: str | None,
        **kwargs: Any,
    ) -> Any:
        actor = command_line()
        selector = Selector.of(
            {
                "project_id": projects.find_project(actor, project).id if project else None,
                "labels": labels,
                "owner_id": accounts.find_account(actor, owner).id if owner else None,
                "positions": positions,
                "current": current,
                "search": search,
                "drifted": drifted,
                "pinned": pinned,
                "strategy": strategy_is,
            }
        )
        return command(selector, *args, **kwargs)

    return with_selector


def located(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: options for the URL of a database. The command gets `where`, perhaps empty."""

    @click.option("--url", help="Other users of the machine may see it; better use --url-file.")
    @click.option(
        "--url-file",
        type=click.File(encoding="utf-8"),
        help="A file with the URL; - for standard input.",
    )
    @click.option("--reference", help="Instead of a URL: env:NAME or file:/path. Workers read it.")
    @wraps(command)
    def with_place(
        *args: Any, url: str | None, url_file: Any, reference: str | None, **kwargs: Any
    ) -> Any:
        if len([one for one in (url, url_file, reference) if one is not None]) > 1:
            raise InputInvalid("Give one of --url, --url-file and --reference.")
        where = {"url": url_file.read().strip() if url_file else url, "reference": reference}
        return command(*args, where={k: v for k, v in where.items() if v is not None}, **kwargs)

    return with_place


def row_of(database: Database) -> dict[str, Any]:
    """A database as JSON values."""
    row = {name: getattr(database, name) for name in COLUMNS}
    return row | {
        "project": database.project.name,
        "owner": database.owner.name if database.owner else None,
        "labels": {label.name: label.value for label in database.labels},
        "x": database.x or {},
        "position": database.position or "unknown",
    }
