"""`flask workers`."""

import os
import sys
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

import click
from flask import current_app

from app import boot
from app.cli.actor import command_line
from app.cli.groups import Group
from app.errors import SettingInvalid
from app.fleet import workers as fleet
from app.settings import Settings
from headway.cli.output import as_json, counted, paged, print_json, print_table
from headway.exit_codes import Exit

SHORT = ("name", "pid", "engine", "release", "done", "state")

workers = Group("workers", help="The processes that migrate databases.")


@workers.command()
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    help="How many databases at once.  [default: HEADWAY_WORKERS, at least 1]",
)
@click.option("--once", is_flag=True, help="Do what can be done now, and end.")
def run(concurrency: int | None, once: bool) -> None:
    """Work until told to stop: on the catalog alone, or with the broker if there is one.

    Beside a web server with HEADWAY_WORKERS there are workers already; this is for more of them,
    or for a machine of their own.
    """
    settings: Settings = current_app.extensions["headway"]
    if once:
        _once()
    elif settings.broker_url:
        _become(*_celery(settings, concurrency or settings.workers or 1))
    else:
        _become("app.processes.supervisor", str(concurrency or settings.workers or 1))


@workers.command("list")
@click.option("--gone", is_flag=True, help="Also those that were alive in the last week.")
@click.option("--check", is_flag=True, help="Exit with 3 if none is alive.")
@paged
@as_json
def list_(check: bool, as_json: bool, **query: Any) -> None:
    """List the workers that are alive."""
    found, following = fleet.list_workers(command_line(), **query)
    if as_json:
        print_json({"items": [asdict(one) for one in found], "next": following})
    else:
        print_table(SHORT, [[str(getattr(one, name)) for name in SHORT] for one in found])
    if following:
        click.echo(f"More: --after {following}", err=True)
    elif not any(one.state is fleet.Life.ALIVE for one in found):
        click.echo("No worker is alive. `flask workers run` starts some.", err=True)
        if check:
            raise SystemExit(Exit.FOUND)


def _once() -> None:
    # Every `flask` command loads this module, and only one of them works.
    from app.fleet.workers.worker import Hand, work_once  # noqa: PLC0415
    from app.processes.worker import quiet, stop_when_told  # noqa: PLC0415

    command_line()  # a catalog that is not at head would be waited for
    quiet()
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    stop = stop_when_told()
    hand = Hand(app, engine=fleet.EMBEDDED, state=boot.state, outdated=stop.set, chores=())
    hand.start()
    done = work_once(hand, stop)
    hand.end()
    click.echo(f"Done: {counted(done, 'run')}.")


def _celery(settings: Settings, concurrency: int) -> tuple[str, ...]:
    if find_spec("celery") is None:
        raise SettingInvalid(
            "HEADWAY_BROKER_URL is set, and Celery is not installed: pip install -e '.[scale]'"
        )
    where = ("celery", "-A", "app.processes.celery", "worker", "--pool", "prefork")
    how = ("--concurrency", str(concurrency), "--hostname", f"{fleet.new_name()}@%h")
    quiet = ("--without-gossip", "--without-mingle", "--loglevel", settings.log_level)
    return (*where, *how, *quiet)


def _become(*module: str) -> None:
    """This process goes on as that one: all that the command line has loaded is let go."""
    sys.stdout.flush()
    os.execv(sys.executable, (sys.executable, "-m", *module))  # noqa: S606  # all of it is ours
