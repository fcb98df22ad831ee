"""`headway boot … -- COMMAND`: a database at head, then any server in this process's place."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from headway.boot import command as serving
from headway.cli.options import (
    NO_SCRIPTS,
    Given,
    alembic_options,
    find_project,
    scripts_option,
    url_options,
)
from headway.exit_codes import Exit

REFUSED = (OSError, ValueError)


@click.command(context_settings={"allow_interspersed_args": False})
@scripts_option
@alembic_options()
@url_options
@click.option(
    "--app", help="Instead of --scripts and --url: a Flask app that is bound to headway.flask."
)
@click.option(
    "--bind",
    envvar="HEADWAY_BIND",
    show_envvar=True,
    metavar="HOST:PORT",
    help="Answer /healthz and /readyz here during the boot.",
)
@click.option(
    "--listen-fds/--no-listen-fds",
    default=None,
    help="COMMAND takes its socket from LISTEN_FDS. By default gunicorn does.",
)
@click.option("--wait", type=float, help="Seconds to wait for the server. Default: 60.")
@click.option("--lock-wait", type=float, help="Seconds to wait for another boot. Default: 300.")
@click.option("--on-newer", type=click.Choice(["serve", "refuse"]), help="Default: serve.")
@click.argument("command", nargs=-1)
def boot(
    command: tuple[str, ...],
    app: str | None,
    bind: str | None,
    listen_fds: bool | None,
    **given: Any,
) -> None:
    """Bring a database to head, then run COMMAND in this process's place.

    Without COMMAND it ends when the database is at head. `{fd}` in COMMAND becomes the number of
    the socket that answered probes.
    """
    if command and not shutil.which(command[0]):
        raise click.UsageError(f"There is no program {command[0]} to run afterwards.")
    child = [sys.executable, "-m", "headway.flask.child", app] if app else _child(given)
    listener = _listener(bind)
    is_chain = command and Path(command[0]).name == "headway"  # another database, before the server
    if listener is None and not is_chain and any(serving.PLACEHOLDER in part for part in command):
        raise click.UsageError("{fd} in COMMAND is the socket of --bind: give that too.")
    done, code = serving.boot_first(child, listener)
    if code or done.stopped:
        raise click.exceptions.Exit(code or Exit.TRY_AGAIN)
    if not command:
        return
    takes = serving.speaks_listen_fds(command) if listen_fds is None else listen_fds
    try:
        serving.become(command, listener, str(done.progress["heads"]), listen_fds=takes)
    except OSError as error:
        raise click.ClickException(f"{command[0]} cannot be run: {error.strerror}.") from error


def _child(options: dict[str, Any]) -> list[str]:
    given = Given(*(options.pop(name) for name in Given._fields))
    found = find_project(options.pop("scripts"), given)
    if not found.scripts:
        raise click.UsageError(f"{NO_SCRIPTS} Or boot a Flask app: --app.")
    options |= {"ini": found.ini, "section": found.section, "x": found.x}
    given_ones = {name: value for name, value in options.items() if value is not None}
    return serving.child_of(found.scripts, **given_ones)


def _listener(bind: str | None) -> Any:
    if not bind:
        return None
    try:
        return serving.listen(bind)
    except REFUSED as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else ""
        raise click.UsageError(f"--bind {bind}: {why or 'give HOST:PORT'}.") from error
