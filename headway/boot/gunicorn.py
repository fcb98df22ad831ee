"""Hooks for a `gunicorn.conf.py`: the boot before the first worker, probes answered meanwhile.

    from headway.boot.gunicorn import hooks

    when_ready, on_reload, post_fork = hooks("migrations", url=os.environ["DATABASE_URL"])

Only the standard library is imported here: what a master imports, its workers would keep using
after a reload.
"""

import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from headway.boot.command import BOOTED, child_of, forget_child
from headway.boot.probes import STOPS, boot_behind_probes
from headway.parent import when_orphaned

Hooks = tuple[Callable[[Any], None], Callable[[Any], None], Callable[[Any, Any], None]]


def hooks(
    scripts: str | os.PathLike[str] | None = None, *, app: str | None = None, **options: object
) -> Hooks:
    """`when_ready`, `on_reload` and `post_fork` for a program whose database is to be at head.

    `scripts` is a script directory, `options` are those of `headway.boot.bring_to_head`, with
    `url` for its database. Or `app` names a Flask app that is bound to `headway.flask`, as
    `flask --app` does.
    A boot that fails ends the server with its exit code. Works with `preload_app` too: an app that
    brings its database to head when it is loaded has done so before, without probes.
    """

    def boot(server: Any, *, listening: bool) -> None:
        if app:
            command = [sys.executable, "-m", "headway.flask.child", app]
        else:
            command = child_of(scripts or "migrations", **options)
        try:
            boot_first(server, command, listening=listening)
        finally:
            forget_child()

    def when_ready(server: Any) -> None:
        boot(server, listening=True)

    def on_reload(server: Any) -> None:
        boot(server, listening=False)  # the old workers serve meanwhile

    def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001
        end_with_master()

    return when_ready, on_reload, post_fork


def boot_first(server: Any, command: Sequence[str], *, listening: bool = True) -> dict[str, Any]:
    """In `when_ready`: boot in a child process while the sockets answer probes. Its last progress.

    The command is a program that ends in `sys.exit(headway.boot.child.run(…))`. A boot that fails,
    or is told to stop, halts the server with its exit code.
    """
    tls = None
    if server.cfg.is_ssl:
        from gunicorn.sock import ssl_context

        tls = ssl_context(server.cfg)
    # After USR2 the old master still serves on these sockets: leave its requests alone.
    listening = listening and server.master_pid == 0
    listeners: list[socket.socket] = []
    if listening:
        listeners = [listener.sock for listener in server.LISTENERS]
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
