"""Command options that name a project and a database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from headway.project import Project


def pairs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Alembic's -x arguments: `k=v`, or `k` alone for an empty value."""
    return {name: value for name, _, value in (given.partition("=") for given in values)}


def on_project(command: Callable[..., Any], *, needed: bool = True) -> Callable[..., Any]:
    """Add the options that name a project; the command gets it loaded.

    Unless `needed`, a command without `--scripts` gets an empty project.
    """

    @click.option(
        "--scripts",
        required=needed,
        envvar="HEADWAY_MIGRATE_SCRIPTS",
        show_envvar=True,
        help="The script directory: a folder, or package:folder.",
    )
    @click.option("--ini", type=click.Path(), help="The project's alembic.ini or pyproject.toml.")
    @wraps(command)
    def with_project(*args: Any, scripts: str | None, ini: str | None, **kwargs: Any) -> Any:
        from headway.project import Project

        if scripts:
            return command(Project.load(scripts, ini), *args, **kwargs)
        with _no_scripts() as folder:
            return command(Project.load(folder), *args, **kwargs)

    return with_project


@contextmanager
def _no_scripts() -> Iterator[Path]:
    """A temporary script directory with one empty revision, for commands without `--scripts`."""
    with TemporaryDirectory(prefix="headway") as place:
        folder = Path(place)
        (folder / "versions").mkdir()
        (folder / "versions" / "none.py").write_text('revision, down_revision = "none", None\n')
        (folder / "env.py").touch()
        yield folder


def on_database(command: Callable[..., Any], *, scripts: bool = True) -> Callable[..., Any]:
    """Add the options that name one database of a project; the command gets it, unconnected."""

    @partial(on_project, needed=scripts)
    @click.option(
        "--url", envvar="HEADWAY_MIGRATE_URL", show_envvar=True, help="The database's URL."
    )
    @click.option(
        "--url-file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="A file that holds the URL: a mounted secret.",
    )
    @click.option(
        "-x", "x", multiple=True, callback=pairs, metavar="K=V", help="An argument for env.py."
    )
    @click.option(
        "--lock-wait", default=60.0, show_default=True, help="Seconds to wait for another run."
    )
    @wraps(command)
    def with_database(
        project: "Project",
        *args: Any,
        url: str | None,
        url_file: Path | None,
        x: dict[str, str],
        lock_wait: float,
        **kwargs: Any,
    ) -> Any:
        policy = {name: kwargs.pop(name) for name in list(kwargs) if name in POLICY}
        if policy.pop("no_replay", False):
            policy["replay"] = False
        database = project.at(url_of(url, url_file), x, lock_wait=lock_wait, **policy)
        return command(database, *args, **kwargs)

    return with_database


on_any_database = partial(on_database, scripts=False)
"""`on_database` for commands that need no revisions."""


POLICY = ("snapshot", "no_replay", "lock_timeout", "statement_timeout", "history")


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


def url_of(url: str | None, file: Path | None) -> str:
    """The URL as given, or as a file holds it. Raises click.UsageError."""
    if file:
        try:
            url = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise click.UsageError(f"{file} cannot be read: {error.strerror}.") from error
    if not url:
        raise click.UsageError("Which database? Give --url, --url-file or HEADWAY_MIGRATE_URL.")
    return url
