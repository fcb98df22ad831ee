"""A boot for a server of any kind: probes answered on its port, which it is then given.

The parent listens and answers; its child (`python -m headway.boot.command`) brings the database to
head; then the parent becomes the server. Only the standard library is imported by the parent.
"""

import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from headway.boot.probes import Boot, boot_behind_probes

if TYPE_CHECKING:
    from headway.types import Progress

CHILD = "HEADWAY_BOOT_ARGUMENTS"
"""What a child is to do, as JSON. A command line could be read by everybody on the machine."""
BOOTED = "HEADWAY_BOOTED_HEADS"
"""Set for a server whose database was brought to these heads: its workers need not again."""
FIRST = 3
"""The descriptor that systemd's protocol passes sockets from."""
PLACEHOLDER = "{fd}"
PATIENCE = 25.0
"""Seconds that a boot has to end in when it is told to stop."""


def child_of(scripts: str | os.PathLike[str], **options: object) -> list[str]:
    """The command that boots one database in a child process, for `boot_behind_probes`.

    `options` are those of `bring_to_head`, `url` for its database. They reach the child in its
    environment: the caller's `os.environ` has them until it calls `forget_child`.
    """
    os.environ[CHILD] = json.dumps({"scripts": os.fspath(scripts), **options})
    return [sys.executable, "-m", "headway.boot.command"]


def forget_child() -> None:
    """Take what `child_of` left out of the environment."""
    os.environ.pop(CHILD, None)


def listen(bind: str) -> socket.socket:
    """A socket that listens on `HOST:PORT`, `[HOST]:PORT` or `:PORT`. ValueError, OSError."""
    host, colon, port = bind.rpartition(":")
    if not colon or not port.isdecimal():
        raise ValueError(bind)
    host = host.removeprefix("[").removesuffix("]") or "0.0.0.0"  # noqa: S104  # as asked for
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, int(port)), family=family, backlog=2048)


def boot_first(command: Sequence[str], listener: socket.socket | None) -> tuple[Boot, int]:
    """Boot in a child process, answering probes on the listener. Its progress, its exit code."""
    listeners = [listener] if listener else []
    try:
        return boot_behind_probes(command, listeners, tls=None, patience=PATIENCE)
    finally:
        forget_child()


def speaks_listen_fds(command: Sequence[str]) -> bool:
    """True if this server is known to take its socket from LISTEN_FDS: gunicorn."""
    return "gunicorn" in (Path(command[0]).name, *command[1:3])


def become(
    command: Sequence[str], listener: socket.socket | None, heads: str, *, listen_fds: bool
) -> NoReturn:
    """Replace this process by the server.

    The socket is passed on where `{fd}` stands in the command, or by LISTEN_FDS; nobody who
    connects meanwhile is refused. Otherwise it is closed first. Raises OSError.
    """
    environ = os.environ | {BOOTED: heads}
    command = list(command)
    if listener is not None:
        by_number = any(PLACEHOLDER in part for part in command)
        command = [part.replace(PLACEHOLDER, str(FIRST)) for part in command]
        if by_number or listen_fds:
            listener.setblocking(True)  # the flag is the socket's, whoever has it
            if listener.fileno() == FIRST:
                os.set_inheritable(FIRST, True)
            else:
                os.dup2(listener.fileno(), FIRST, inheritable=True)
        if listen_fds:
            environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    for name in ("SIGPIPE", "SIGXFSZ"):  # Python ignores them, and so would the server
        with suppress(AttributeError):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execvpe(command[0], command, environ)  # noqa: S606  # what the person typed


def _boot(given: Mapping[str, Any]) -> dict[str, object]:
    from headway.boot.boot import bring_to_head
    from headway.boot.progress import Narrator
    from headway.boot.settings import WORDS, boot_options
    from headway.project import Project
    from headway.scripts.own_urls import only_url, own_urls

    log, narrate = logging.getLogger(__name__), Narrator(WORDS)

    def report(now: "Progress") -> None:
        narrate(now)
        if now.state == "migrating":
            log.info("revision %s: %s", now.revision, now.name)

    project = Project.load(given["scripts"], given.get("ini"), given.get("section") or "alembic")
    others: dict[str, Any] = {"words": WORDS, "report": report, "x": given.get("x")}
    url = given.get("url") or only_url(project, own_urls(project, given.get("x") or {}))
    booted = bring_to_head(project, url, **boot_options(given), **others)
    return {"heads": ",".join(booted.after.heads)}


def main() -> int:
    """The child: boot once, tell the parent; the exit code."""
    from headway.boot import child

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # each revision is logged by us
    given = json.loads(os.environ.pop(CHILD))
    return child.run(lambda: _boot(given))


if __name__ == "__main__":
    sys.exit(main())
