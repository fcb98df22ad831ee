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
from app.cli.groups import CatalogGroup
from app.fleet import workers as fleet
from app.settings import Settings
from headway.cli.output import as_json, counted, echo, paged, print_list
from headway.errors import SettingInvalid
from headway.exit_codes import Exit

SHORT = ("name", "pid", "engine", "release", "done", "state")

workers = CatalogGroup(
    "workers", help="Run and list workers: the processes that migrate databases."
)


@workers.command()
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    help="How many databases at once.  [default: HEADWAY_WORKERS, at least 1]",
)
@click.option("--once", is_flag=True, help="Do all that is due now, then end.")
def run(concurrency: int | None, once: bool) -> None:
    """Run workers until they are stopped.

    They take runs from the broker if HEADWAY_BROKER_URL is set, otherwise from the catalog. A web
    server with HEADWAY_WORKERS runs workers itself; this command is for more of them, or for
    another machine.
    """
    settings: Settings = current_app.extensions["headway"]
    if once:
        _once()
    elif settings.broker_url:
        _become(*_celery(settings, concurrency or settings.workers or 1))
    else:
        _become("app.processes.supervisor", str(concurrency or settings.workers or 1))


@workers.command("list")
@click.option("--gone", is_flag=True, help="Include workers that ended within the last week.")
@click.option("--check", is_flag=True, help="Exit with 3 if no worker is running.")
@paged
@as_json
def list_(check: bool, as_json: bool, **query: Any) -> None:
    """List the running workers."""
    found, following = fleet.list_workers(command_line(), **query)
    print_list([asdict(one) for one in found], following, SHORT, as_json=as_json)
    if not following and not any(one.state is fleet.Life.ALIVE for one in found):
        echo("No worker is running. `flask workers run` starts one.", err=True)
        if check:
            raise SystemExit(Exit.FOUND)


def _once() -> None:
    # Every `flask` command loads this module, and only one of them works.
    from app.fleet.workers.worker import WorkerProcess, work_once  # noqa: PLC0415
    from app.processes.worker import quiet_alembic_log, stop_on_signal  # noqa: PLC0415

    command_line()  # raises if the catalog is not at head; a worker would wait for it
    quiet_alembic_log()
    app = current_app._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    stop = stop_on_signal()
    process = WorkerProcess(
        app, engine=fleet.EMBEDDED, state=boot.state, outdated=stop.set, tasks=()
    )
    process.start()
    done = work_once(process, stop)
    process.end()
    echo(f"Finished {counted(done, 'run')}.")


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
    """Replace this process by that module, which frees what the command line has loaded."""
    sys.stdout.flush()
    os.execv(sys.executable, (sys.executable, "-m", *module))  # noqa: S606  # all of it is ours
