"""A boot in a process of its own, for a parent that answers probes meanwhile (`boot.probes`).

Progress goes to standard output, a JSON object a line; words for people to standard error; the
exit code is the one of the error's kind. When standard input closes, the parent is gone and this
process ends.
"""

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping

from headway.boot import progress
from headway.errors import HeadwayError
from headway.exit_codes import EXIT_OF, Exit
from headway.types import Progress


def run(boot: Callable[[], Mapping[str, object]]) -> Exit:
    """Boot once, and tell the parent; the exit code.

    `boot` returns what the parent is to know at the end: `heads`, joined by commas, at least.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress.observers.append(_report)
    try:
        done = boot()
    except HeadwayError as error:
        sys.stderr.write(f"Error: {error}\n")
        return EXIT_OF[error.kind]
    except KeyboardInterrupt:
        sys.stderr.write("Stopped while bringing the database to head.\n")
        return Exit.TRY_AGAIN
    _write({"state": "done", "lock": None, **done})
    return Exit.OK


def _report(now: Progress) -> None:
    _write(now.as_json() | {"started": now.started})


def _write(body: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(body) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    while os.read(0, 1024):  # not sys.stdin: its lock would hang our own exit
        pass
    os._exit(Exit.TRY_AGAIN)
