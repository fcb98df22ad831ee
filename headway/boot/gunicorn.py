"""Hooks for a `gunicorn.conf.py`: the boot before the first worker, probes answered meanwhile.

    from headway.boot.gunicorn import boot_first, end_with_master

    def when_ready(server):
        boot_first(server, (sys.executable, "-m", "shop.boot"))

    def post_fork(server, worker):
        end_with_master()

The command is a program that ends in `sys.exit(headway.boot.child.run(…))`. Only the standard
library is imported here: what a master imports, its workers would keep using after a reload.
"""

import os
import signal
from collections.abc import Sequence
from typing import Any

from headway.boot.probes import STOPS, boot_behind_probes
from headway.parent import when_orphaned

BOOTED = "HEADWAY_BOOTED_HEADS"
"""Set by a master that has brought the database to these heads: its workers need not again."""


def boot_first(server: Any, command: Sequence[str]) -> dict[str, Any]:
    """In `when_ready`: boot in a child process while the sockets answer probes. Its last progress.

    A boot that fails, or is told to stop, halts the server with its exit code. Not for a server
    that preloads its app, which has booted already.
    """
    tls = None
    if server.cfg.is_ssl:
        from gunicorn.sock import ssl_context  # noqa: PLC0415

        tls = ssl_context(server.cfg)
    # After USR2 the old master still serves on these sockets: leave its requests alone.
    upgrading = server.master_pid != 0
    listeners = [] if upgrading else [listener.sock for listener in server.LISTENERS]
    patience = server.cfg.graceful_timeout
    boot, code = boot_behind_probes(command, listeners, tls=tls, patience=patience)
    for number in STOPS:
        signal.signal(number, server.signal)
    if boot.stopped:
        server.halt(reason="told to stop while bringing the database to head")
    if code:
        server.halt(reason="the database could not be brought to head", exit_status=code)
    os.environ[BOOTED] = str(boot.progress["heads"])
    return boot.progress


def end_with_master() -> None:
    """In `post_fork`: a worker ends when its master does, even in the middle of loading the app.

    gunicorn's workers look for their master only once they serve.
    """
    when_orphaned(os.getppid(), lambda: os._exit(1))
