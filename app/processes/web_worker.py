"""A gunicorn worker whose threads never wait for a client.

gunicorn's own threads read a request from the socket, so that a few clients who send a byte now and
then hold all of them. Here an event loop reads each request to its end before a thread gets it, and
sends what of an answer a client is slow to take. Health checks have threads of their own. Each wait
has a deadline, and memory and connections have a limit, at which the connection that has waited
longest is closed; a new one is not refused.

Parsing, running the app, access logs and restarts are `gunicorn.workers.gthread`'s.
"""

import asyncio
import contextlib
import errno
import sys
import time
from collections import Counter
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

from gunicorn.sock import ssl_context
from gunicorn.workers.gthread import ThreadWorker

from app.processes.web_connection import Connection

PROBES = ("/healthz", "/readyz")
OWN_THREADS = dict.fromkeys(PROBES, 1) | {"POST /sign-in": 2}
"""Requests that threads of their own answer, so many each: sign-ins wait for hashes, and nobody
else waits for them."""
LARGEST_BODY = 1024 * 1024
"""Where the app sets no MAX_CONTENT_LENGTH. Of a larger body the end is not read, or nothing."""
MOST_HELD = 48 * 1024 * 1024
"""Bytes of requests and answers that one worker keeps for all of its clients."""
TOO_BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)


class WebWorker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's threads behind an event loop. Speaks HTTP/1.0 and 1.1, with or without TLS."""

    loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        """Refuse what this worker does not do, instead of doing it wrong."""
        http2 = "h2" in cfg.http_protocols or cfg.http2_cleartext != "off"
        if http2 or cfg.protocol != "http" or cfg.proxy_protocol != "off":
            log.error(
                "HTTP/2, uwsgi and the PROXY protocol are not there: leave their options out."
            )
            sys.exit(78)

    def init_process(self) -> None:
        """In the new process, before the app is loaded."""
        self.pools = {what: ThreadPoolExecutor(count) for what, count in OWN_THREADS.items()}
        self.queued: Counter[Executor | None] = Counter()
        self.tasks: set[asyncio.Task[None]] = set()
        self.waiting: dict[Connection, None] = {}
        """Those that wait for their client, the longest first."""
        self.held = 0
        super().init_process()

    def handle_exit(self, _signal: int, _frame: Any) -> None:
        """SIGTERM: end when the requests under way are answered."""
        self.alive = False
        if self.loop:
            self.loop.call_soon_threadsafe(self.stopping.set)

    def run(self) -> None:
        """Serve until told to stop."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        self.loop, self.stopping = asyncio.get_running_loop(), asyncio.Event()
        self.tls = ssl_context(self.cfg) if self.cfg.is_ssl else None
        config = getattr(self.wsgi, "config", {})
        self.largest_body = config.get("MAX_CONTENT_LENGTH") or LARGEST_BODY
        for listener in self.sockets:
            listener.setblocking(False)
            self.loop.add_reader(listener.fileno(), self._accept, self.loop, listener)
        while self.alive and self.is_parent_alive():
            self.notify()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), 1)
        self.alive = False
        for listener in self.sockets:
            self.loop.remove_reader(listener.fileno())
        for connection in self.waiting:
            connection.hurry()
        until = time.monotonic() + self.cfg.graceful_timeout
        while self.tasks and time.monotonic() < until:
            self.notify()
            await asyncio.wait(self.tasks, timeout=1)
        for pool in (self.tpool, *self.pools.values()):
            pool.shutdown(wait=False, cancel_futures=True)

    def _accept(self, loop: asyncio.AbstractEventLoop, listener: Any) -> None:
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                self._make_room()
            return  # or gone again, or another process was quicker
        if len(self.tasks) >= self.worker_connections:
            self._make_room()
        client.setblocking(False)
        connection = Connection(self, loop, address, listener.getsockname())
        connection.task = loop.create_task(connection.serve(client))
        self.tasks.add(connection.task)
        connection.task.add_done_callback(self.tasks.discard)

    def _make_room(self) -> None:
        """Close what has waited longest, of the address that has the most waiting connections."""
        if self.waiting:
            crowd = Counter(each.address for each in self.waiting).most_common(1)[0][0]
            self._close(next(each for each in self.waiting if each.address == crowd))

    def hold(self, more: int) -> None:
        """Count bytes that are kept for clients; over the limit, the one that costs most goes."""
        self.held += more
        if more > 0 and self.held > MOST_HELD and self.waiting:
            costliest = max(self.waiting, key=lambda each: each.held)
            if costliest.held:
                self._close(costliest)

    def _close(self, connection: Connection) -> None:
        del self.waiting[connection]
        connection.release()
        connection.task.cancel()

    async def answer(self, connection: Connection) -> bool:
        """Let a thread answer the request that was read; whether the connection goes on."""
        path = getattr(connection.request, "path", "")
        method = getattr(connection.request, "method", "")
        pool = self.pools.get(path) or self.pools.get(f"{method} {path}", self.tpool)
        full = path not in PROBES and self.held > MOST_HELD
        if full or self.queued[pool] >= self.worker_connections // 2:
            connection.write(TOO_BUSY)
            return False
        self.queued[pool] += 1
        try:
            loop = asyncio.get_running_loop()
            return bool(await loop.run_in_executor(pool, self.handle, connection))
        finally:
            self.queued[pool] -= 1
