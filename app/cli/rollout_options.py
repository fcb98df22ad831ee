"""The options that say what a rollout is to be."""

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
    """`k=v`, or `k` alone for any value."""
    return {name: value for name, _, value in (given.partition("=") for given in values)}


def _window(_: click.Context, __: click.Parameter, value: str | None) -> dict[str, Any] | None:
    """`22:00-04:00`, then days, then a zone; both may be left out."""
    if value is None:
        return None
    found = WINDOW.fullmatch(value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is no window. Example: {WINDOW_EXAMPLE}")
    window: dict[str, Any] = {"from": found["start"], "until": found["until"]}
    for word in found["rest"].split():
        if set(days := word.lower().split(",")) <= set(DAYS):
            window["days"] = days
        else:
            window["zone"] = word
    return window


OPTIONS = (
    click.option("--project", required=True, help="By name or id."),
    click.option(
        "--kind", type=click.Choice([kind.value for kind in OPERATIONS]), default="upgrade"
    ),
    click.option("--target", help="A revision, base, -1 …  [default: heads]"),
    click.option("--title"),
    # which
    click.option("--label", "labels", multiple=True, callback=_labels, metavar="K=V"),
    click.option("--owner", help="By id or e-mail address."),
    click.option("--position", "positions", multiple=True, type=click.Choice(POSITIONS)),
    click.option("--database", "names", multiple=True, help="By name or id."),
    # how
    click.option("--wave", "waves", multiple=True, help="10, or 25%.  [default: 1 5% 25% 100%]"),
    click.option("--allow-failures", "failures", type=click.IntRange(0), help="So many may fail."),
    click.option(
        "--allow-failures-percent",
        "failures_percent",
        type=click.FloatRange(0, 100),
        help="Or such a part of those that were begun.",
    ),
    click.option(
        "--soak", "soak_seconds", type=float, metavar="SECONDS", help="To wait after a wave."
    ),
    click.option("--approval", is_flag=True, help="Another account lets each wave begin."),
    click.option(
        "--check",
        type=click.Choice([Check.DRIFT.value]),
        help="What each has to pass after its migration.",
    ),
    click.option(
        "--check-sql", "sql", metavar="QUERY", help="Or a query that has to give a true value."
    ),
    click.option(
        "--window",
        callback=_window,
        metavar="WHEN",
        help=f"'{WINDOW_EXAMPLE}', the last two or not.",
    ),
    click.option("--concurrency", type=int, help=f"At once, overall.  [default: {CONCURRENCY}]"),
    click.option("--per-server", type=int, help=f"At once on one server.  [default: {PER_SERVER}]"),
    click.option(
        "--timeout",
        "timeout_seconds",
        type=float,
        metavar="SECONDS",
        help=f"A run that takes longer is ended.  [default: {TIMEOUT:g}]",
    ),
    click.option("--snapshot", is_flag=True, help="Before each run, where that can be."),
    click.option("--no-retreat", is_flag=True, help="A canary that fails stays as it is."),
)
GATE = ("failures", "failures_percent", "soak_seconds", "approval", "check", "sql")
SELECTOR = ("labels", "owner", "positions", "names")


def with_rollout_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of a new rollout."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def rollout_values(actor: Actor, options: dict[str, Any]) -> dict[str, Any]:
    """What these options say, as the fleet takes it. Raises what it does for names unknown."""
    options = dict(options)
    gate = {name: options.pop(name) for name in GATE}
    if gate["sql"] is not None:
        if gate["check"] is not None:
            raise InputInvalid("One check: --check drift or --check-sql.")
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
    """A database of this project; one of another may have the same name."""
    try:
        return databases.find_database(actor, f"{project.name}/{name}")
    except DatabaseNotFound:
        found = databases.find_database(actor, name)
    if found.project_id != project.id:
        raise InputInvalid(
            f"{found.project.name}/{found.name} is no database of {project.name}: a rollout is of "
            "one project."
        )
    return found
