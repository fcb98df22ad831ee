"""The options of a new rollout and of a database, and the values that the API takes for them."""

import re
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import click

from headway.cli.fleet.fleets import Fleet
from headway.cli.fleet.names import project_option
from headway.types import Position

KINDS = ("upgrade", "downgrade", "stamp", "check", "snapshot", "restore")
POSITIONS = (*(position.value for position in Position), "unknown")
STRATEGIES = ("wave", "on_open")
STAGES = (
    *("draft", "running", "soaking", "waiting", "paused", "halted", "undoing"),
    *("succeeded", "failed", "undone", "cancelled"),
)
RUN_KINDS = (*KINDS, "create", "rehearse", "undo")
RUN_STATES = ("pending", "running", "succeeded", "failed", "cancelled", "lost")
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WINDOW = re.compile(r"(?P<start>\d\d:\d\d)-(?P<until>\d\d:\d\d)(?P<rest>( +\S+){0,2})")
WINDOW_EXAMPLE = "22:00-04:00 sat,sun Europe/Berlin"

Command = Callable[..., Any]


class StageName(click.Choice[str]):
    """A stage as people write it; the API's word for a draft, `pending`, is understood too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The stage as the API has it."""
        chosen = super().convert("draft" if value == "pending" else value, param, ctx)
        return "pending" if chosen == "draft" else chosen


def labels_of(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Parse `tier=gold`; in a selector, `tier` alone means any value."""
    return {name: value for name, _, value in (given.partition("=") for given in values)}


def x_option(help: str) -> Callable[[Command], Command]:  # noqa: A002
    """The option `-x`: Alembic's arguments, `k=v`, or `k` for an empty value."""
    more = "May hold {name}, {schema}, {database}, {label.NAME}, of each database."
    return click.option(
        *("-x", "--x", "x"),
        multiple=True,
        callback=labels_of,
        metavar="K=V",
        help=f"{help} {more}",
    )


SELECTING = (
    project_option(),
    click.option("--label", "labels", multiple=True, callback=labels_of, metavar="NAME[=VALUE]"),
    click.option("--owner", help="An account's id or e-mail address."),
    click.option("--position", "positions", multiple=True, type=click.Choice(POSITIONS)),
    click.option("--current", help="The current revisions, joined by +."),
    click.option("--search", help="Part of the name or address."),
    click.option("--drifted/--not-drifted", default=None),
    click.option("--pinned/--not-pinned", default=None),
    click.option("--strategy-is", type=click.Choice(STRATEGIES)),
)


def selecting(command: Command) -> Command:
    """Decorator: the options that select databases."""
    for option in reversed(SELECTING):
        command = option(command)
    return command


def located(command: Command) -> Command:
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
            raise click.UsageError("Give one of --url, --url-file and --reference.")
        where = {"url": url_file.read().strip() if url_file else url, "reference": reference}
        return command(*args, where={k: v for k, v in where.items() if v is not None}, **kwargs)

    return with_place


def database_fields(command: Command) -> Command:
    """Decorator: options for the fields of a database."""
    for option in (
        click.option("--label", "labels", multiple=True, callback=labels_of, metavar="NAME=VALUE"),
        x_option("Its own argument for env.py, instead of its project's of that name."),
        click.option("--owner", help="An account's id or e-mail address."),
        click.option("--notes"),
        click.option("--strategy", type=click.Choice(STRATEGIES)),
    ):
        command = option(command)
    return command


def database_values(
    fleet: Fleet,
    *,
    owner: str | None,
    labels: dict[str, str],
    x: dict[str, str],
    **fields: Any,
) -> dict[str, Any]:
    """The values of the given options; an empty one clears its field."""
    values: dict[str, Any] = {k: v or None for k, v in fields.items() if v is not None}
    if owner is not None:
        values["owner_id"] = fleet.account_id(owner) if owner else None
    if labels:
        values["labels"] = labels
    if x:
        values["x"] = x
    return values


# --- rollouts ------------------------------------------------------------------------------------


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
    project_option(required=True),
    click.option("--kind", type=click.Choice(KINDS), default="upgrade"),
    click.option("--target", help="A revision, base, -1 …  [default: heads]"),
    click.option("--title"),
    # which
    click.option("--label", "labels", multiple=True, callback=labels_of, metavar="K=V"),
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
        type=click.Choice(["drift"]),
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
    click.option("--concurrency", type=int, help="How many workers at once.  [default: 8]"),
    click.option("--per-server", type=int, help="How many at once on one server.  [default: 4]"),
    click.option(
        "--timeout",
        "timeout_seconds",
        type=float,
        metavar="SECONDS",
        help="A run that takes longer is stopped.  [default: 600]",
    ),
    click.option("--snapshot", is_flag=True, help="Copy each SQLite file before its run."),
    click.option("--no-retreat", is_flag=True, help="Do not undo a first wave that fails."),
)
GATE = ("failures", "failures_percent", "soak_seconds", "approval", "check", "sql")
SELECTOR = ("labels", "owner", "positions", "names")


def with_rollout_options(command: Command) -> Command:
    """Decorator: the options of a new rollout."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def rollout_values(fleet: Fleet, options: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a new rollout from these options. Raises what the fleet does."""
    options = dict(options)
    gate = {name: options.pop(name) for name in GATE}
    if gate["sql"] is not None:
        if gate["check"] is not None:
            raise click.UsageError("Give only one of --check and --check-sql.")
        gate["check"] = "sql"
    labels, owner, positions, names = (options.pop(name) for name in SELECTOR)
    project_id = fleet.project_id(options.pop("project"))
    selector = {
        "labels": labels or None,
        "positions": list(positions) or None,
        "owner_id": fleet.account_id(owner) if owner else None,
        "ids": [fleet.member_id(project_id, name) for name in names] or None,
    }
    return {
        **{name: value for name, value in options.items() if name != "no_retreat"},
        "project_id": project_id,
        "waves": list(options["waves"]) or None,
        "retreat": not options["no_retreat"],
        "gate": gate,
        "selector": selector,
    }
