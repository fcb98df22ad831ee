"""The options for a new rollout."""

import re
from collections.abc import Callable
from typing import Any

import click

from app.errors import DatabaseNotFound, InputInvalid
from app.fleet import accounts, databases, projects
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import POSITIONS
from app.fleet.rollouts import CONCURRENCY, OPERATIONS, PER_SERVER, TIMEOUT
from app.fleet.rollouts.gates import Check
from app.fleet.rollouts.windows import DAYS
from app.models import Database, Project

WINDOW = re.compile(r"(?P<start>\d\d:\d\d)-(?P<until>\d\d:\d\d)(?P<rest>( +\S+){0,2})")
WINDOW_EXAMPLE = "22:00-04:00 sat,sun Europe/Berlin"


def _labels(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Parse `k=v`, or `k` for any value."""
    return {name: value for name, _, value in (given.partition("=") for given in values)}


def _window(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """Parse `22:00-04:00 sat,sun Europe/Berlin`; days and zone are optional."""
    if value is None:
        return None
    found = WINDOW.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is not a window. Example: {WINDOW_EXAMPLE}")
    window: dict[str, Any] = {"from": found["start"], "until": found["until"]}
    for word in found["rest"].split():
        if set(days := word.lower().split(",")) <= set(DAYS):
            window["days"] = days
        else:
            window["zone"] = word
    return window


OPTIONS = (
    click.option("--project", required=True, help="A name or id."),
    click.option(
        "--kind", type=click.Choice([kind.value for kind in OPERATIONS]), default="upgrade"
    ),
    click.option("--target", help="A revision, base, -1 …  [default: heads]"),
    click.option("--title"),
    # which
    click.option("--label", "labels", multiple=True, callback=_labels, metavar="K=V"),
    click.option("--owner", help="An account's id or e-mail address."),
    click.option("--position", "positions", multiple=True, type=click.Choice(POSITIONS)),
    click.option("--database", "names", multiple=True, help="A name or id."),
    # how
    click.option(
        "--wave",
        "waves",
        multiple=True,
        help="How many are done after a wave: 10 or 25%.  [default: 1 5% 25% 100%]",
    ),
    click.option(
        "--allow-failures", "failures", type=click.IntRange(0), help="How many databases may fail."
    ),
    click.option(
        "--allow-failures-percent",
        "failures_percent",
        type=click.FloatRange(0, 100),
        help="Or what percentage of the databases begun.",
    ),
    click.option(
        "--soak",
        "soak_seconds",
        type=float,
        metavar="SECONDS",
        help="How long to wait after a wave.",
    ),
    click.option("--approval", is_flag=True, help="Another account has to approve each next wave."),
    click.option(
        "--check",
        type=click.Choice([Check.DRIFT.value]),
        help="A check that each database has to pass after its migration.",
    ),
    click.option(
        "--check-sql", "sql", metavar="QUERY", help="Or a query whose first value must be true."
    ),
    click.option(
        "--window",
        callback=_window,
        metavar="WHEN",
        help=f"When runs may begin: '{WINDOW_EXAMPLE}'. Days and zone are optional.",
    ),
    click.option(
        "--concurrency", type=int, help=f"How many runs at once.  [default: {CONCURRENCY}]"
    ),
    click.option(
        "--per-server", type=int, help=f"How many at once on one server.  [default: {PER_SERVER}]"
    ),
    click.option(
        "--timeout",
        "timeout_seconds",
        type=float,
        metavar="SECONDS",
        help=f"A run that takes longer is stopped.  [default: {TIMEOUT:g}]",
    ),
    click.option("--snapshot", is_flag=True, help="Copy each SQLite file before its run."),
    click.option("--no-retreat", is_flag=True, help="Do not undo a first wave that fails."),
)
GATE = ("failures", "failures_percent", "soak_seconds", "approval", "check", "sql")
SELECTOR = ("labels", "owner", "positions", "names")


def with_rollout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options of a new rollout."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def rollout_values(actor: Actor, options: dict[str, Any]) -> dict[str, Any]:
    """The values of a new rollout from these options.

    Raises ProjectNotFound, DatabaseNotFound, AccountNotFound, InputInvalid.
    """
    options = dict(options)
    gate = {name: options.pop(name) for name in GATE}
    if gate["sql"] is not None:
        if gate["check"] is not None:
            raise InputInvalid("Give only one of --check and --check-sql.")
        gate["check"] = Check.SQL
    choice = {name: options.pop(name) for name in SELECTOR}
    project = projects.find_project(actor, options.pop("project"))
    return {
        **{name: value for name, value in options.items() if name != "no_retreat"},
        "project_id": project.id,
        "waves": list(options["waves"]) or None,
        "retreat": not options["no_retreat"],
        "gate": gate,
        "selector": _selector(actor, project, choice),
    }


def _selector(actor: Actor, project: Project, choice: dict[str, Any]) -> dict[str, Any]:
    owner, names = choice["owner"], choice["names"]
    return {
        "labels": choice["labels"] or None,
        "positions": choice["positions"] or None,
        "owner_id": accounts.find_account(actor, owner).id if owner else None,
        "ids": [_member(actor, project, name).id for name in names] or None,
    }


def _member(actor: Actor, project: Project, name: str) -> Database:
    """A database of this project; another project may have one of the same name."""
    try:
        return databases.find_database(actor, f"{project.name}/{name}")
    except DatabaseNotFound:
        found = databases.find_database(actor, name)
    if found.project_id != project.id:
        raise InputInvalid(
            f"{found.project.name}/{found.name} is not a database of {project.name}. A rollout is "
            "for one project."
        )
    return found
