"""Clients that take their time, and others that are measured meanwhile.

    python -m tests.slow_clients PORT KIND COUNT

opens that many connections of one kind and opens another for each that the server closes.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAUSE = 0.1
"""Seconds between two bytes."""
FORM = b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
SENT = {
    "silent": b"",
    "head": b"GET /sign-in HTTP/1.1\r\nHost: x\r\nX-Padding: ",
    "body": FORM + b"Content-Length: 90000\r\n\r\n",
    "chunks": FORM + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n",
    "answer": b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
    "file": b"GET /api/docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n",
}
"""What a slow client sends at once; then it goes on a byte at a time, or reads like that.

The last two are the largest answers that a stranger gets."""
READING = ("answer", "file")


async def be_slow(port: int, kind: str) -> None:
    """One slow client, for ever."""
    loop = asyncio.get_running_loop()
    while True:
        with contextlib.suppress(OSError), socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", port))
            await loop.sock_sendall(client, SENT[kind])
            if kind == "silent":
                await loop.sock_recv(client, 1)
            while kind in READING:
                if not await loop.sock_recv(client, 1):
                    break
                await asyncio.sleep(PAUSE)
            ended = asyncio.ensure_future(loop.sock_recv(client, 1))
            ended.add_done_callback(lambda done: done.cancelled() or done.exception())
            while kind not in READING and not ended.done():
                await loop.sock_sendall(client, b"a")
                await asyncio.wait({ended}, timeout=PAUSE)
            ended.cancel()
        await asyncio.sleep(0.01)


async def all_slow(port: int, kind: str, count: int) -> None:
    """They come one after the other, in two seconds, and so they go and come again."""
    tasks = []
    for _ in range(count):
        tasks.append(asyncio.create_task(be_slow(port, kind)))
        await asyncio.sleep(2 / count)
    await asyncio.gather(*tasks, asyncio.Event().wait())


@contextlib.contextmanager
def slow_clients(port: int, kind: str, count: int) -> Iterator[None]:
    """So many of them, in a process of their own, there when the block begins."""
    command = [sys.executable, "-m", "tests.slow_clients", str(port), kind, str(count)]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        time.sleep(3)
        assert process.poll() is None
        yield
    finally:
        process.kill()
        process.wait()


@dataclass
class Answers:
    """How long answers took, in seconds, and what came in place of one."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def median(self) -> float:
        return sorted(self.seconds)[len(self.seconds) // 2]

    @property
    def worst(self) -> float:
        return max(self.seconds)


async def get(port: int, path: str, answers: Answers, token: str, most: float) -> None:
    """One request on a connection of its own."""
    began = time.perf_counter()
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(most):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.closing(writer):
                writer.write(head.encode())
                answer = await reader.read()
    except (OSError, TimeoutError) as error:
        answers.wrong.append(repr(error))
    else:
        if not answer.startswith(b"HTTP/1.1 200"):
            answers.wrong.append(repr(answer[:60]))
    answers.seconds.append(time.perf_counter() - began)


async def ask(
    port: int, paths: list[str], rate: float, seconds: float, token: str = "", most: float = 10
) -> Answers:
    """So many requests a second, each begun in time however late the others are."""
    answers, began = Answers(), time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(get(port, paths[number % len(paths)], answers, token, most))
    return answers


async def measure(
    port: int, paths: list[str], seconds: float, token: str = "", each: Callable[[], None] = int
) -> tuple[Answers, Answers]:
    """Health checks, ten a second, and fifty ordinary requests a second; `each` about each second."""

    async def now_and_then() -> None:
        while True:
            each()
            await asyncio.sleep(1)

    beside = asyncio.ensure_future(now_and_then())
    try:
        return await asyncio.gather(
            ask(port, ["/healthz"], 10, seconds), ask(port, paths, 50, seconds, token)
        )
    finally:
        beside.cancel()


if __name__ == "__main__":
    asyncio.run(all_slow(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
