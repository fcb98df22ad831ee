"""A request that is read to its end before a thread sees it."""

import asyncio

from gunicorn.http.body import ChunkedReader
from gunicorn.http.unreader import Unreader

PATIENCE = 10.0
"""Seconds for the head of a request; for a body or an answer, those before its size counts."""
LEAST_RATE = 32 * 1024
"""Bytes a second that a client must send of a body and take of an answer."""
PART = 64 * 1024
"""Bytes that are read at once, and the longest head."""
PIECE = 8 * 1024
"""Bytes of a body that gunicorn gets at once: for each chunk it copies what it has got."""
MOST_LINES = 10_000
"""Chunks and trailers of a body: each takes the time of all others in the process."""


def patience_for(size: int) -> float:
    """Seconds in which a client must have sent or taken so many bytes."""
    return PATIENCE + size / LEAST_RATE


class Received(Unreader):  # type: ignore[misc]
    """What has come of a request. Its end is an end: reading it never waits."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[bytes] = []

    def add(self, data: bytearray) -> None:
        """More of it."""
        self.parts += [bytes(data[at : at + PIECE]) for at in range(0, len(data), PIECE)]

    def chunk(self, size_hint: int | None = None) -> bytes:  # noqa: ARG002
        """The next part, or b"" at the end."""
        return self.parts.pop(0) if self.parts else b""


class LimitExceeded(ValueError):
    """A body has more bytes, chunks or trailers than are read."""


class Body:
    """Reads a body until it is whole, too large or too slow.

    LimitExceeded: it is too large. ValueError or LimitOverrunError: it is malformed.
    IncompleteReadError: the client has gone. TimeoutError, in whoever set the deadline: it has not
    come in time.
    """

    def __init__(self, reader: asyncio.StreamReader, deadline: asyncio.Timeout, most: int) -> None:
        self.reader, self.deadline, self.most = reader, deadline, most
        self.began = asyncio.get_running_loop().time()
        self.counted = self.lines = 0
        self.taken = bytearray()

    async def read(self, framing: object) -> None:
        """Read to the end that `framing`, gunicorn's reader of this body, will look for."""
        if isinstance(framing, ChunkedReader):
            self.most *= 2  # chunks have lines of their own; the app counts without them
            while size := int((await self._line()).partition(b";")[0], 16):
                await self._exactly(size + 2)
                if size < 0 or not self.taken.endswith(b"\r\n"):
                    raise ValueError("no chunk")
            while await self._line() != b"\r\n":
                pass  # a trailer
        else:
            await self._exactly(length_of(framing))

    async def _line(self) -> bytes:
        line = await self.reader.readuntil(b"\r\n")
        self._take(line)
        self.lines += 1
        if self.lines > MOST_LINES:
            raise LimitExceeded
        if self.lines % 100 == 0:  # reading what is there already lets nobody else run
            await asyncio.sleep(0)
        return line

    async def _exactly(self, size: int) -> None:
        while size > 0:
            part = await self.reader.read(min(size, PART))
            if not part:
                raise asyncio.IncompleteReadError(b"", size)
            self._take(part)
            size -= len(part)

    def _take(self, part: bytes) -> None:
        self.taken += part
        if len(self.taken) > self.most:
            raise LimitExceeded
        if len(self.taken) - self.counted > LEAST_RATE / 10:  # not for each byte of a slow one
            self.counted = len(self.taken)
            self.deadline.reschedule(self.began + patience_for(self.counted))


def length_of(framing: object) -> int:
    """The length that the head gives; 0 of a body in chunks."""
    return int(getattr(framing, "length", 0))
