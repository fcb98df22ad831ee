"""`python -m app.processes.worker`: one embedded worker, as the supervisor starts it.

The catalog alone, without the faces: it is there in half the time. It waits while the catalog is
behind or being migrated, and ends when a newer release has migrated it: the next one in its
place starts with the code that is there by then.
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
from headway.errors import HeadwayError
from headway.exit_codes import EXIT_OF, Exit
from headway.parent import when_orphaned


def catalog_app(settings: Settings) -> Flask:
    """An app that has a catalog and serves nothing."""
    app = Flask("app")
    app.config.from_mapping(settings.for_flask())
    app.extensions["headway"] = settings
    boot.init_app(app)
    return app


def quiet() -> None:
    """What Alembic says of each migration is in the log of its run."""
    logging.getLogger("alembic").setLevel(logging.WARNING)


def stop_when_told() -> threading.Event:
    """Set by a signal to stop. What runs then runs to its end."""
    stop = threading.Event()

    def told(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (*STOPS, signal.SIGHUP):
        signal.signal(number, told)
    return stop


def work(app: Flask, stop: threading.Event, *, name: str | None, replaces: str | None) -> None:
    """Take runs and do them until told to stop."""
    # Only where it works: a boot in this process has no use for them.
    from app.fleet.workers import EMBEDDED  # noqa: PLC0415
    from app.fleet.workers.worker import Hand, Loop  # noqa: PLC0415

    hand = Hand(
        app, engine=EMBEDDED, name=name, replaces=replaces, state=boot.state, outdated=stop.set
    )
    hand.start()
    Loop(hand, stop).run()
    hand.end()


def main(arguments: Sequence[str] | None = None) -> Exit:
    """Work until told to stop, or until the parent is gone."""
    parser = argparse.ArgumentParser(prog="python -m app.processes.worker", description=__doc__)
    parser.add_argument("--parent", type=int, default=0, help="End when this process does.")
    parser.add_argument("--name", help="What this worker is called; no other ever was.")
    parser.add_argument("--replaces", help="The worker whose place it takes, which is dead.")
    given = parser.parse_args(arguments)
    stop = stop_when_told()
    if given.parent:
        when_orphaned(given.parent, stop.set)
    try:
        settings = Settings.from_env()
        logs.configure(settings)
        quiet()
        work(catalog_app(settings), stop, name=given.name, replaces=given.replaces)
    except HeadwayError as error:
        sys.stderr.write(f"Error: {error}\n")
        return EXIT_OF[error.kind]
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
