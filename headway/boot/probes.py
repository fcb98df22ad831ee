"""Answer health checks while a database is being migrated, before there is a worker.

A gunicorn master runs the boot in a child process and meanwhile answers on its own listening
sockets: alive, not ready, and why. Only the standard library: what a master imports, its workers
would keep using after a reload.
"""

import asyncio
import contextlib
import json
import signal
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
LONGEST_HEAD = 16 * 1024
PATIENCE = 5.0
"""How long a client may take to ask."""
LAST_WORDS = 2.0
"""How long one may take that asked when the workers were about to start."""


@dataclass
class Boot:
    """A boot that runs in a child process, and the progress that it sent last."""

    progress: dict[str, Any] = field(default_factory=lambda: {"state": "starting", "lock": None})
    started: float = field(default_factory=time.time)
    stopped: bool = False
    """True if we were told to stop before it was done."""

    def readiness(self) -> dict[str, Any]:
        """The body of `/readyz`, with the seconds of this very moment."""
        return self.progress | {"seconds": round(time.time() - self.started)}

    def update(self, line: bytes) -> None:
        """Take the progress from a line of the child."""
        progress = json.loads(line)
        self.started = progress.pop("started", self.started)
        self.progress = progress


def boot_behind_probes(
    command: Sequence[str],
    listeners: Sequence[socket.socket],
    *,
    tls: ssl.SSLContext | None,
    patience: float,
) -> tuple[Boot, int]:
    """Run a boot in a child process (`boot.child`), answering probes on these sockets meanwhile.

    Returns its last progress and its exit code. A signal to stop ends it, by force after `patience`
    seconds. The sockets stay open: who connects in between waits in their backlog.
    """
    boot = Boot()
    return boot, asyncio.run(_run(boot, command, listeners, tls, patience))


async def _run(
    boot: Boot,
    command: Sequence[str],
    listeners: Sequence[socket.socket],
    tls: ssl.SSLContext | None,
    patience: float,
) -> int:
    answers = _Answers(boot, tls)
    answers.start(listeners)
    # Our end of its standard input closes when we die, however we die: the child then ends too.
    child = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in STOPS:
        loop.add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(_stop(boot, child, stop, patience))
    try:
        assert child.stdout is not None  # noqa: S101  # it is a pipe
        async for line in child.stdout:
            boot.update(line)
        return await child.wait()
    finally:
        stopping.cancel()
        for number in STOPS:
            loop.remove_signal_handler(number)
        await answers.finish(listeners)


async def _stop(
    boot: Boot, child: asyncio.subprocess.Process, stop: asyncio.Event, patience: float
) -> None:
    await stop.wait()
    boot.stopped = True
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
        await asyncio.sleep(patience)
        child.kill()


class _Answers:
    """Answers one request a connection.

    Not `asyncio.start_server`: a connection that it accepted in the turn in which it is closed
    is dropped without a word, and it shortens the backlog that the workers go on with.
    """

    def __init__(self, boot: Boot, tls: ssl.SSLContext | None) -> None:
        self.boot = boot
        self.tls = tls
        self.open: set[asyncio.Task[None]] = set()

    def start(self, listeners: Sequence[socket.socket]) -> None:
        """Let people in."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            listener.setblocking(False)
            loop.add_reader(listener, self._let_in, listener)

    async def finish(self, listeners: Sequence[socket.socket]) -> None:
        """Let nobody in any more, and answer all who are: the workers know nothing of them."""
        loop = asyncio.get_running_loop()
        for listener in listeners:
            loop.remove_reader(listener)
        if self.open:
            await asyncio.wait(self.open, timeout=LAST_WORDS)

    def _let_in(self, listener: socket.socket) -> None:
        try:
            client, _ = listener.accept()
        except OSError:
            return  # gone again, or too many are here already
        task = asyncio.get_running_loop().create_task(self._serve(client))
        self.open.add(task)
        task.add_done_callback(self.open.discard)

    async def _serve(self, client: socket.socket) -> None:
        client.setblocking(False)
        reader = asyncio.StreamReader(limit=LONGEST_HEAD)
        protocol = asyncio.StreamReaderProtocol(reader)
        loop = asyncio.get_running_loop()
        # Whoever it was is gone, or never asked: nobody is left to tell.
        with contextlib.suppress(
            OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError
        ):
            async with asyncio.timeout(PATIENCE):
                transport, _ = await loop.connect_accepted_socket(
                    lambda: protocol, client, ssl=self.tls
                )
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                with contextlib.closing(writer):
                    writer.write(self._reply(await reader.readuntil(b"\r\n\r\n")))
                    await writer.drain()
                await writer.wait_closed()

    def _reply(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        status, kind, body = self._answer(path)
        text = json.dumps(body).encode()
        lines = [
            f"HTTP/1.1 {status}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(text)}",
            "Cache-Control: no-store",
            "Connection: close",
        ]
        if status.startswith("503"):
            lines.append("Retry-After: 2")
        head = "\r\n".join(lines).encode() + b"\r\n\r\n"
        return head if method == b"HEAD" else head + text

    def _answer(self, path: bytes) -> tuple[str, str, dict[str, Any]]:
        if path == b"/healthz":
            return "200 OK", "application/json", {"state": "alive"}
        if path == b"/readyz":
            return "503 Service Unavailable", "application/json", self.boot.readiness()
        return (
            "503 Service Unavailable",
            "application/problem+json",
            {
                "type": "about:blank",
                "title": "Service Unavailable",
                "status": 503,
                "detail": "The database is being brought to head; /readyz shows the progress.",
            },
        )
