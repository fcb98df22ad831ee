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

from headway.boot.progress import Report
from headway.errors import HeadwayError
from headway.exit_codes import EXIT_OF, Exit
from headway.types import Progress


def run(boot: Callable[[Report], Mapping[str, object]]) -> Exit:
    """Boot once, and tell the parent; the exit code.

    `boot` is given what reports progress, and returns what else the parent is to know: `heads`,
    joined by commas, at least.
    """
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        done = boot(_report)
    except HeadwayError as error:
        sys.stderr.write(f"Error: {error}\n")
        return EXIT_OF[error.kind]
    except KeyboardInterrupt:
        sys.stderr.write("Stopped while bringing the database to head.\n")
        return Exit.TRY_AGAIN
    _write({"state": "done", "lock": None, **done})
    return Exit.OK


def _report(progress: Progress) -> None:
    _write(progress.as_json() | {"started": progress.started})


def _write(body: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(body) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    while os.read(0, 1024):  # not sys.stdin: its lock would hang our own exit
        pass
    os._exit(Exit.TRY_AGAIN)
