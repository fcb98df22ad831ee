"""`python -m app.processes.worker`: one embedded worker, which the supervisor starts.

Its app has the catalog but no API and pages, which starts in half the time. It waits while the
catalog is behind or being migrated, and ends when a newer release has migrated it: its successor
starts with the new code.
"""

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from flask import Flask

from app import boot, logs
from app.processes.supervisor import STOPS
from app.settings import Settings
from headway.cli.output import EXIT_OF, Exit
from headway.errors import HeadwayError
from headway.parent import when_orphaned


def catalog_app(settings: Settings) -> Flask:
    """An app with the catalog but without API and pages."""
    app = Flask("app")
    app.config.from_mapping(settings.for_flask())
    app.extensions["headway"] = settings
    boot.init_app(app)
    return app


def quiet_alembic_log() -> None:
    """Hide Alembic's messages about each migration, which are in the log of its run."""
    logging.getLogger("alembic").setLevel(logging.WARNING)


def stop_on_signal() -> threading.Event:
    """An event that signals to stop set. A run that is active then is finished."""
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (*STOPS, signal.SIGHUP):
        signal.signal(number, on_signal)
    return stop


def work(app: Flask, stop: threading.Event, *, name: str | None, replaces: str | None) -> None:
    """Take and execute runs until `stop` is set."""
    # Imported late, because a boot in this process does not need them.
    from app.fleet.workers import EMBEDDED  # noqa: PLC0415
    from app.fleet.workers.worker import WorkerLoop, WorkerProcess  # noqa: PLC0415

    process = WorkerProcess(
        app, engine=EMBEDDED, name=name, replaces=replaces, state=boot.state, outdated=stop.set
    )
    process.start()
    WorkerLoop(process, stop).run()
    process.end()


def main(arguments: Sequence[str] | None = None) -> Exit:
    """Work until stopped, or until the parent has ended. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m app.processes.worker", description=__doc__)
    parser.add_argument("--parent", type=int, default=0, help="End when this process does.")
    parser.add_argument("--name", help="The unique name of this worker.")
    parser.add_argument("--replaces", help="The name of the ended worker that it replaces.")
    given = parser.parse_args(arguments)
    stop = stop_on_signal()
    if given.parent:
        when_orphaned(given.parent, stop.set)
    try:
        settings = Settings.from_env()
        logs.configure(settings)
        quiet_alembic_log()
        work(catalog_app(settings), stop, name=given.name, replaces=given.replaces)
    except HeadwayError as error:
        sys.stderr.write(f"Error: {error}\n")
        return EXIT_OF[error.kind]
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
