"""A client's connection: the event loop reads and writes, and a thread only answers."""

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator
from concurrent.futures import CancelledError
from typing import IO, Any

from gunicorn.http.body import ChunkedReader
from gunicorn.http.errors import ChunkMissingTerminator, LimitRequestHeaders, NoMoreData
from gunicorn.http.parser import RequestParser

from app.processes.web_request import (
    PART,
    PATIENCE,
    Body,
    LimitExceeded,
    Received,
    length_of,
    patience_for,
)

LINGER = 2.0
"""Seconds in which an idle client may still send, when the worker stops or ends the connection."""
MOST_AHEAD = 4 * 1024 * 1024
"""Bytes that a thread may write before the client has taken them."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Connection(asyncio.StreamReaderProtocol):
    """To a thread, a `TConn` of gunicorn's and its parser, with the one request that was read."""

    initialized = data_ready = True
    is_http2 = False
    task: asyncio.Task[None]
    transport: asyncio.Transport | None = None

    def __init__(
        self, worker: Any, loop: asyncio.AbstractEventLoop, client: Any, server: Any
    ) -> None:
        self.reader = asyncio.StreamReader(limit=PART, loop=loop)
        super().__init__(self.reader, loop=loop)
        self.worker, self.loop, self.client, self.server = worker, loop, client, server
        self.address = client[0] if isinstance(client, tuple) else ""
        self.sock, self.parser = ThreadSocket(self), self
        self.requests = RequestParser(worker.cfg, (), client)
        self.requests.unreader = self.unreader = Received()
        self.request: Any = None
        self.idle: asyncio.Timeout | None = None
        self.begun = False
        """True while a request has been sent in part."""
        self.file: tuple[IO[bytes], int, int] | None = None
        """The end of an answer, if it is a file: opened for this, from where, how many bytes."""
        self.received = self.held = 0
        self.cut = False
        """True while the body of the request is beyond a limit, and was not read to its end."""

    # What a thread asks of it.

    def init(self) -> None:
        """Nothing is left to do."""

    def __next__(self) -> Any:
        """The request that was read, or the error that reading it was.

        Chunks are put together here: where they are malformed no app sees the request.
        """
        if isinstance(self.request, Exception):
            raise self.request
        body = self.request.body
        if isinstance(body.reader, ChunkedReader) and not self.cut:
            try:
                whole = body.read()  # which leaves another buffer there
                body.buf.write(whole)
            except NoMoreData:
                raise ChunkMissingTerminator(b"") from None
        return self.request

    def finish_body(self, deadline: float) -> bool:  # noqa: ARG002
        """Leave out what the app has not read of the body."""
        return bool(self.requests.finish_body())

    # What the event loop does.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio. Draining is to wait for the last byte."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101
        self.transport = transport
        # asyncio's TLS waits from this size on, its plain connections from one byte more.
        transport.set_write_buffer_limits(high=1 if self.worker.tls else 0)
        self.writer = asyncio.StreamWriter(transport, self, self.reader, self.loop)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        super().data_received(data)
        self.received += len(data)
        self._weigh()

    def write(self, data: bytes) -> None:
        """Send this, or as much as the client takes now; the rest when it takes it."""
        self.writer.write(data)
        self._weigh()

    def _weigh(self) -> None:
        more = self.received + self._unsent() - self.held
        self.held += more
        self.worker.hold(more)

    def release(self) -> None:
        """It keeps nothing from now on."""
        self.worker.hold(-self.held)
        self.held = 0

    def _unsent(self) -> int:
        return self.transport.get_write_buffer_size() if self.transport else 0

    @contextlib.asynccontextmanager
    async def _waiting(self, seconds: float) -> AsyncIterator[asyncio.Timeout]:
        """While it waits for its client. Raises TimeoutError when the time is over."""
        self.worker.waiting[self] = None
        try:
            async with asyncio.timeout(seconds) as deadline:
                yield deadline
        finally:
            self.worker.waiting.pop(self, None)

    def hurry(self) -> None:
        """The worker stops: end soon, unless a request has begun."""
        if self.idle and not self.idle.expired():
            soon = self.loop.time() + LINGER
            self.idle.reschedule(min(soon, self.idle.when() or soon))

    async def serve(self, client: socket.socket) -> None:
        """All of its requests, one after the other."""
        try:
            async with self._waiting(PATIENCE):
                await self.loop.connect_accepted_socket(lambda: self, client, ssl=self.worker.tls)
            while await self._receive():
                goes_on = await self.worker.answer(self)
                self.received, self.unreader.parts = 0, []
                await self.drain()
                self.sock.ahead = 0
                if not goes_on:
                    break
            await self._close_gently()
        except TimeoutError:
            if self.begun:
                self.write(TOO_SLOW)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client is gone
        except Exception:
            self.worker.log.exception("Error on a connection.")
        finally:
            self.release()
            if self.file:
                self.file[0].close()
            if self.transport:
                self.transport.abort()
            else:
                client.close()

    async def _receive(self) -> bool:
        """Read a request to its end; False if there is none to come."""
        silence = self.worker.cfg.keepalive or PATIENCE
        async with self._waiting(silence if self.worker.alive else LINGER) as deadline:
            self.idle = deadline
            first = await self.reader.read(1)
            self.idle, self.begun = None, bool(first)
            if not first:
                return False
            deadline.reschedule(self.loop.time() + PATIENCE)
            try:
                self.unreader.parts = [first + await self.reader.readuntil(b"\r\n\r\n")]
                self.request = next(self.requests)
            except asyncio.LimitOverrunError:
                self.request = LimitRequestHeaders("The head is too long.")
            except asyncio.IncompleteReadError:
                raise
            except Exception as error:  # noqa: BLE001  # a thread raises it again, and answers it
                self.request = error
            else:
                await self._receive_body(deadline)
        self.begun = False
        return True

    async def _receive_body(self, deadline: asyncio.Timeout) -> None:
        """Read the body. What is not worth reading is left, and the connection then ends."""
        framing = self.request.body.reader
        body = Body(self.reader, deadline, self.worker.largest_body)
        self.cut = False
        if length_of(framing) > body.most:
            self.request.force_close()
            return
        expected = self.request._expected_100_continue  # noqa: SLF001
        if expected and (length_of(framing) or isinstance(framing, ChunkedReader)):
            self.write(CONTINUE)
        try:
            await body.read(framing)
        except (ValueError, asyncio.LimitOverrunError) as error:
            self.request.force_close()
            self.cut = isinstance(error, LimitExceeded)
        self.unreader.add(body.taken)

    async def drain(self) -> None:
        """Wait until the client has taken everything. Raises OSError if it does not."""
        size = self._unsent() + (self.file[2] if self.file else 0)
        async with self._waiting(patience_for(size)):
            await self.writer.drain()
            if self.file:
                file, place, left = self.file
                with file:
                    while left and (part := os.pread(file.fileno(), min(left, PART), place)):
                        self.write(part)
                        await self.writer.drain()
                        place, left = place + len(part), left - len(part)
                self.file = None
        self._weigh()

    async def _close_gently(self) -> None:
        """End after the answer: closed at once, bytes on their way here would take it back."""
        if self.writer.can_write_eof():
            self.writer.write_eof()
        async with self._waiting(LINGER):
            while await self.reader.read(PART):
                self.received = 0


class ThreadSocket:
    """What a thread takes for the socket of its client. Writing to it does not wait."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ahead = 0

    def sendall(self, data: bytes) -> None:
        """Give this to the event loop. Only a client that is far behind is waited for."""
        connection = self.connection
        try:
            if connection.transport is None or connection.transport.is_closing():
                raise ConnectionResetError
            if self.ahead > MOST_AHEAD or connection.file:
                asyncio.run_coroutine_threadsafe(connection.drain(), connection.loop).result()
                self.ahead = 0
            connection.loop.call_soon_threadsafe(connection.write, data)
            self.ahead += len(data)
        except (OSError, CancelledError):
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None

    def sendfile(self, file: IO[bytes], offset: int, count: int) -> None:
        """Leave it to the event loop, which reads it bit by bit: a slow client costs no memory."""
        self.connection.file = (os.fdopen(os.dup(file.fileno()), "rb"), offset, count)

    def send(self, data: bytes) -> int:
        """100 Continue, and nothing else: the client got it before its body."""
        return len(data)

    def gettimeout(self) -> float:
        """As of a socket that never blocks."""
        return 0.0

    def setblocking(self, blocking: bool) -> None:
        """Nothing to do."""

    def shutdown(self, _how: int) -> None:
        """Refused, so that what is already written is sent: the event loop closes."""
        raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))

    def close(self) -> None:
        """Nothing to do."""
