"""`python -m app.processes.boot`: bring the catalog to head, and report progress to the parent.

The parent is a gunicorn master that answers probes meanwhile (`app/probes.py`). Progress goes to
standard output, one JSON object per line; messages for people go to standard error; the exit code
is that of the error's kind. When standard input closes, the parent has ended and so does this.
"""

import json
import os
import signal
import sys
import threading

from flask import Flask

from app import boot, logs
from app.settings import Settings
from headway.cli.output import EXIT_OF, Exit
from headway.errors import HeadwayError
from headway.types import Progress


def main() -> Exit:
    """Boot once. Returns the exit code."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        settings = Settings.from_env()
        logs.configure(settings)
        seen = boot.bring_to_head(_app(settings))
    except HeadwayError as error:
        sys.stderr.write(f"Error: {error}\n")
        return EXIT_OF[error.kind]
    except KeyboardInterrupt:
        sys.stderr.write("Stopped while bringing the catalog to head.\n")
        return Exit.TRY_AGAIN
    heads = ",".join(seen.heads)
    _say({"state": "done", "lock": None, "heads": heads, "workers": settings.embedded})
    return Exit.OK


def _app(settings: Settings) -> Flask:
    """An app with the catalog but without API and pages, which starts in half the time."""
    app = Flask("app")
    app.config.from_mapping(settings.for_flask())
    app.extensions["headway"] = settings
    boot.init_app(app, report=_tell)
    return app


def _tell(progress: Progress) -> None:
    _say(progress.as_json() | {"started": progress.started})


def _say(body: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(body) + "\n")
    sys.stdout.flush()


def _end_with_parent() -> None:
    while os.read(0, 1024):  # not sys.stdin: its lock would hang our own exit
        pass
    os._exit(Exit.TRY_AGAIN)


if __name__ == "__main__":
    sys.exit(main())
