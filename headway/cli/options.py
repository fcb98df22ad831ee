"""Command options that name a project and a database."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from headway.cli.group import enter_app

if TYPE_CHECKING:
    from sqlalchemy import URL

    from headway.connections.address import Address
    from headway.connections.session import Policy
    from headway.database import Database
    from headway.plan.plans import Direction
    from headway.plan.sql import Span
    from headway.scripts.project import ScriptProject
    from headway.scripts.script import Revision

RELATIVE = re.compile(r"-\d+")
GIVEN = "headway.given"
"""In `ctx.meta`: the options before the command, as a `Given`."""


class Given(NamedTuple):
    """Alembic's own options, which it takes before the command; here they may also follow it."""

    config: tuple[str, ...] = ()
    name: str | None = None
    x: tuple[str, ...] = ()


def alembic_options(*, short: bool = True) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `-c`, `-n` and `-x` as `alembic` has them."""
    config = ("-c", "--config", "--ini", "config") if short else ("--config", "--ini", "config")

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in (
            click.option("-x", "x", multiple=True, metavar="K=V", help="An argument for env.py."),
            click.option("-n", "--name", metavar="NAME", help="The section of alembic.ini."),
            click.option(
                *config,
                multiple=True,
                type=click.Path(),
                metavar="FILE",
                help="The alembic.ini or pyproject.toml, if it is not in this folder.",
            ),
        ):
            command = option(command)
        return command

    return add


scripts_option = click.option(
    "--scripts",
    envvar="HEADWAY_MIGRATE_SCRIPTS",
    show_envvar=True,
    help="The script directory: a folder, or package:folder.",
)


def on_project(
    command: Callable[..., Any], *, needed: bool = True, short: bool = True, with_x: bool = False
) -> Callable[..., Any]:
    """Add the options that name a project; the command gets it loaded.

    Unless `needed`, a command without scripts gets an empty project. `short`: with `-c`. `with_x`:
    the command also gets `x`, the arguments for env.py.
    """

    @alembic_options(short=short)
    @scripts_option
    @wraps(command)
    def with_project(*args: Any, scripts: str | None, **kwargs: Any) -> Any:
        from headway.scripts.project import ScriptProject  # not for `--help`

        given = Given(*(kwargs.pop(name) for name in Given._fields))
        found = find_project(scripts, given)
        if with_x:
            kwargs["x"] = found.x
        if found.scripts:
            enter_app(found.scripts)
            project = ScriptProject.load(found.scripts, found.ini, found.section)
            return command(project, *args, **kwargs)
        if needed:
            raise click.UsageError(NO_SCRIPTS)
        with _no_scripts() as folder:
            return command(ScriptProject.load(folder), *args, **kwargs)

    return with_project


on_project_with_x = partial(on_project, with_x=True)


NO_SCRIPTS = (
    "Which scripts? This folder has no alembic.ini and no pyproject.toml with [tool.alembic]. Go "
    "to the project's folder, name them (-c FILE, or --scripts FOLDER), or begin: `headway init`."
)


class Found(NamedTuple):
    """What the options name: as `ScriptProject.load` takes it, and the arguments for env.py."""

    scripts: str | None
    """None if nothing names a script directory."""
    ini: str | None
    section: str
    x: dict[str, str]


def find_project(scripts: str | None, given: Given) -> Found:
    """What `--scripts` and Alembic's options name, those before the command included.

    Without `--scripts` it is looked for where `alembic` looks.
    """
    before = click.get_current_context().meta.get(GIVEN, Given())
    config = given.config or before.config
    section = given.name or before.name or "alembic"
    ini: str | None = config[-1] if config else None
    if scripts is None:
        scripts, ini = _find_scripts(config, section)
    return Found(scripts, ini, section, _pairs((*before.x, *given.x)))


def _pairs(given: Sequence[str]) -> dict[str, str]:
    """Alembic's -x arguments: `k=v`, or `k` alone for an empty value."""
    return {name: value for name, _, value in (one.partition("=") for one in given)}


def _find_scripts(config: Sequence[str], section: str) -> tuple[str | None, str | None]:
    """The script directory and the file that names it, where `alembic` looks for them.

    A folder that it gives is one of the working directory, as Alembic has it, or beside the file.
    """
    from headway.scripts.locations import is_resource, location_in

    named = list(config) or list(filter(None, [os.environ.get("ALEMBIC_CONFIG")]))
    # Of the two, the table in pyproject.toml goes first, as for Alembic.
    for name in sorted(named, key=lambda one: not one.endswith(".toml")) or [
        "pyproject.toml",
        "alembic.ini",
    ]:
        file = Path(name)
        if not file.is_file():
            if name in named:
                raise click.UsageError(f"There is no {name}.")
            continue
        place = location_in(file.absolute(), section)
        if place and (is_resource(place) or Path(place).is_dir()):
            return place, name
        if place:
            return str(file.absolute().parent / place), name
        if (file.parent / "env.py").is_file():  # Flask-Migrate's lies among the scripts
            return str(file.absolute().parent), name
    if named or section != "alembic":
        places = ", ".join(named) or "alembic.ini"
        raise click.UsageError(f"{places} names no script_location in [{section}].")
    return None, None


@contextmanager
def _no_scripts() -> Iterator[Path]:
    """A temporary script directory with one empty revision, for commands without scripts."""
    with TemporaryDirectory(prefix="headway") as place:
        folder = Path(place)
        (folder / "versions").mkdir()
        (folder / "versions" / "none.py").write_text('revision, down_revision = "none", None\n')
        (folder / "env.py").touch()
        yield folder


def url_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name a database by its URL; the command gets `url`, or None."""

    @click.option(
        "--url", envvar="HEADWAY_MIGRATE_URL", show_envvar=True, help="The database's URL."
    )
    @click.option(
        "--url-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="A file that holds the URL: a mounted secret.",
    )
    @wraps(command)
    def with_url(*args: Any, url: str | None, url_file: Path | None, **kwargs: Any) -> Any:
        if url_file:
            try:
                url = url_file.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise click.UsageError(f"{url_file} cannot be read: {error.strerror}.") from error
        return command(*args, url=url or None, **kwargs)

    return with_url


class Place(NamedTuple):
    """One database of a project. Its status needs no more than this, and a Database is made of it.

    All that runs revisions is imported with `headway.database`, which takes as long as Alembic.
    """

    project: "ScriptProject"
    address: "Address"
    x: dict[str, str]
    policy: "Policy"


def place_of(
    project: "ScriptProject", url: "str | URL | None", x: dict[str, str], **policy: Any
) -> Place:
    """The database at a URL, or where `alembic` would connect to; nothing is opened."""
    from headway.connections.session import Policy  # not for `--help`
    from headway.scripts.connection_setup import addressed

    found, address = addressed(project, url or own_url(project, x), x)
    return Place(found, address, x, Policy(**policy))


def on_place(
    command: Callable[..., Any], *, scripts: bool = True, short: bool = True
) -> Callable[..., Any]:
    """Add the options that name one database of a project; the command gets its `Place`."""

    @partial(on_project, needed=scripts, short=short, with_x=True)
    @url_options
    @click.option(
        "--lock-wait", default=60.0, show_default=True, help="Seconds to wait for another run."
    )
    @wraps(command)
    def with_place(
        project: "ScriptProject", *args: Any, url: str | None, x: dict[str, str], **kwargs: Any
    ) -> Any:
        policy = {name: kwargs.pop(name) for name in list(kwargs) if name in POLICY}
        if policy.pop("no_replay", False):
            policy["replay"] = False
        return command(place_of(project, url, x, **policy), *args, **kwargs)

    return with_place


def on_database(command: Callable[..., Any], *, scripts: bool = True) -> Callable[..., Any]:
    """Add the options that name one database of a project; the command gets it, unconnected."""

    @partial(on_place, scripts=scripts)
    @wraps(command)
    def with_database(place: Place, *args: Any, **kwargs: Any) -> Any:
        from headway.database import Database

        return command(Database(*place), *args, **kwargs)

    return with_database


on_any_database = partial(on_database, scripts=False)
"""`on_database` for commands that need no revisions."""


POLICY = ("lock_wait", "snapshot", "no_replay", "lock_timeout", "statement_timeout", "history")


def run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a run: snapshot, replay, timeouts, history."""
    for option in (
        click.option("--snapshot", is_flag=True, help="Copy a SQLite file first."),
        click.option(
            "--no-replay",
            is_flag=True,
            help="Run the revisions as Python, even if their SQL could be replayed.",
        ),
        click.option(
            "--lock-timeout",
            default=5.0,
            show_default=True,
            help="Seconds that a statement waits for the application's locks.",
        ),
        click.option("--statement-timeout", type=float, help="Seconds that a statement may take."),
        click.option("--history", is_flag=True, help="Keep a history table in the database."),
    ):
        command = option(command)
    return command


def own_url(project: "ScriptProject", x: dict[str, str], *, needed: bool = True) -> "URL":
    """The URL that `alembic` would connect to; unless `needed`, else that of a SQLite database."""
    from headway.errors import AddressInvalid
    from headway.scripts.own_urls import only_url, own_urls

    found = own_urls(project, x)
    if not found and not needed:
        return project.default_url
    try:
        return only_url(project, found)
    except AddressInvalid as error:
        raise click.UsageError(str(error)) from error


# --- targets, as Alembic's users write them: `-1`, `+2`, `ae10:head` -------------------------


class TargetCommand(click.Command):
    """A command whose target may be `-1`, which click would take for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # A space before it makes it a value; `target_argument` takes it away.
        return super().parse_args(ctx, [f" {a}" if RELATIVE.fullmatch(a) else a for a in args])


def target_argument(name: str = "target", **options: Any) -> Callable[[Any], Any]:
    """Add the argument of a target, or with `nargs=-1` of several."""

    def stripped(_: click.Context, __: click.Parameter, value: Any) -> Any:
        return tuple(one.strip() for one in value) if isinstance(value, tuple) else value.strip()

    return click.argument(name, callback=stripped, **options)


def span_of_revision(database: "Database", revision: "Revision") -> "Span":
    """The upgrade of one revision alone, from its parents."""
    from headway.plan.plans import Direction

    span = span_of(database, Direction.UPGRADE, revision.id)
    return replace(span, start=revision.parents)


def span_of(database: "Database", way: "Direction", *targets: str) -> "Span":
    """The migration of `start:end`, or from base. Several targets are for a stamp."""
    from headway.plan.sql import Span  # not for `--help`

    starts = {start for start, colon, _ in (one.rpartition(":") for one in targets) if colon}
    if len(starts) > 1:
        raise click.UsageError(f"Several revisions to begin at: {', '.join(sorted(starts))}.")
    ends = tuple(one.rpartition(":")[2] or "heads" for one in targets)
    return Span(
        project=database.project,
        address=database.address,
        x=database.x,
        direction=way,
        start=tuple(starts - {"", "base"}),
        target=ends if len(ends) > 1 else ends[0],
    )
