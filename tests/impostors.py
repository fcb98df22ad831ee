"""Servers that are none: they note what a client sends to whoever answers at an address."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

SSL_OR_GSS = (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30")
MYSQL_ABLE = 0x0200 | 0x8000 | 0x00080000 | 0x01 | 0x08 | 0x80
"""What a server of MySQL 5.7 can, with LOAD DATA LOCAL among it."""
HELLO = b"".join(
    (
        *(
            b"\x0a5.7.0\0",
            struct.pack("<I", 1),
            b"A" * 8,
            b"\0",
            struct.pack("<H", MYSQL_ABLE & 0xFFFF),
        ),
        *(b"\x21", struct.pack("<HH", 2, MYSQL_ABLE >> 16), b"\x15", b"\0" * 10, b"B" * 12, b"\0"),
        b"mysql_native_password\0",
    )
)
OK = b"\x00\x00\x00\x02\x00\x00\x00"


@dataclass
class Impostor:
    """Where it listens, and what it was sent."""

    port: int
    heard: list[str] = field(default_factory=list)

    @property
    def passwords(self) -> list[str]:
        """The passwords among it."""
        return [one.removeprefix("password ") for one in self.heard if one.startswith("password ")]


Line = socket.socket


def _exactly(line: Line, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = line.recv(count - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def _postgresql(line: Line, heard: list[str]) -> None:
    """Ask for the password in clear, note it, and refuse it."""
    while True:
        (size,) = struct.unpack("!I", _exactly(line, 4))
        body = _exactly(line, size - 4)
        if body[:4] not in SSL_OR_GSS:
            break
        line.sendall(b"N")
    heard.append("startup " + body[4:].replace(b"\0", b" ").decode("latin-1"))
    line.sendall(b"R" + struct.pack("!II", 8, 3))
    _exactly(line, 1)
    (size,) = struct.unpack("!I", _exactly(line, 4))
    heard.append("password " + _exactly(line, size - 4).rstrip(b"\0").decode("latin-1"))
    words = b"SFATAL\0C28P01\0Mno\0\0"
    line.sendall(b"E" + struct.pack("!I", 4 + len(words)) + words)


def _mysql(line: Line, heard: list[str]) -> None:
    """Let everybody in, and answer each question by asking for a file of the client's."""

    def send(number: int, body: bytes) -> None:
        line.sendall(struct.pack("<I", len(body))[:3] + bytes([number]) + body)

    def read() -> tuple[bytes, int]:
        head = _exactly(line, 4)
        return _exactly(line, int.from_bytes(head[:3], "little")), head[3]

    send(0, HELLO)
    body, number = read()
    heard.append("startup " + body[32:].decode("latin-1"))
    send(number + 1, OK)
    while True:
        body, number = read()
        if body[1:].upper().startswith((b"SET", b"COMMIT", b"ROLLBACK")):
            send(number + 1, OK)
            continue
        send(number + 1, b"\xfb/etc/hostname")
        heard.append("file " + read()[0].decode("latin-1"))


def _silent(line: Line, heard: list[str]) -> None:
    """Let everybody in as PostgreSQL does, and answer no question."""
    while True:
        (size,) = struct.unpack("!I", _exactly(line, 4))
        body = _exactly(line, size - 4)
        if body[:4] not in SSL_OR_GSS:
            break
        line.sendall(b"N")
    line.sendall(b"R" + struct.pack("!II", 8, 0) + b"Z" + struct.pack("!I", 5) + b"I")
    line.settimeout(None)
    while more := line.recv(4096):
        heard.append(f"question of {len(more)} bytes")


def _endless(line: Line, heard: list[str]) -> None:
    """Let everybody in as MySQL does, and answer with rows of a megabyte, for ever."""

    def send(body: bytes) -> None:
        nonlocal number
        number = (number + 1) % 256
        line.sendall(struct.pack("<I", len(body))[:3] + bytes([number]) + body)

    def read() -> bytes:
        nonlocal number
        head = _exactly(line, 4)
        number = head[3]
        return _exactly(line, int.from_bytes(head[:3], "little"))

    number = -1
    send(HELLO)
    read()
    send(OK)
    while not (asked := read())[1:].upper().startswith(b"SELECT"):
        send(OK)
    heard.append(asked[1:].decode())
    send(b"\x01")
    name = b"\x03def\0\0\0\x01n\x01n\x0c\x21\0" + struct.pack("<IBHB", 1 << 20, 253, 0, 0)
    send(name + b"\0\0")
    send(b"\xfe\0\0\x02\0")
    while True:
        send(b"\xfd" + struct.pack("<I", 1 << 20)[:3] + b"x" * (1 << 20))


@contextlib.contextmanager
def _serving(talk: Callable[[Line, list[str]], None]) -> Iterator[Impostor]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        impostor = Impostor(server.getsockname()[1])

        def serve(line: Line) -> None:
            with line, contextlib.suppress(EOFError, OSError):
                line.settimeout(10)
                talk(line, impostor.heard)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    line, _ = server.accept()
                    threading.Thread(target=serve, args=(line,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield impostor


def postgresql() -> contextlib.AbstractContextManager[Impostor]:
    """One that speaks PostgreSQL's protocol and wants the password in clear."""
    return _serving(_postgresql)


def mysql() -> contextlib.AbstractContextManager[Impostor]:
    """One that speaks MySQL's protocol and asks for files."""
    return _serving(_mysql)


def silent() -> contextlib.AbstractContextManager[Impostor]:
    """A PostgreSQL that lets everybody in and then says nothing."""
    return _serving(_silent)


def endless() -> contextlib.AbstractContextManager[Impostor]:
    """A MySQL whose list of databases never ends."""
    return _serving(_endless)
