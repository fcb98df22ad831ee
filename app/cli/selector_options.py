"""The options that select databases, and the columns of a database."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from app.cli.actor import command_line
from app.fleet import accounts, projects
from app.fleet.core.selectors import Selector
from app.models import Database
from headway.cli.fleet.options import selecting
from headway.cli.fleet.tables import DATABASES


def chosen(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: options that select databases. The command gets a Selector as first argument."""

    @selecting
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


def row_of(database: Database) -> dict[str, Any]:
    """A database as JSON values."""
    row = {name: getattr(database, name) for name in DATABASES.fields}
    return row | {
        "project": database.project.name,
        "owner": database.owner.name if database.owner else None,
        "labels": {label.name: label.value for label in database.labels},
        "x": database.x or {},
        "position": database.position or "unknown",
    }
