"""A receiver of webhooks: a real HTTP server on this machine that behaves as it is told."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Heard:
    """One request."""

    path: str
    headers: dict[str, str]
    """By their names in lower case: a client may spell them as it likes."""
    body: bytes


@dataclass
class Receiver:
    """Where it listens, what it heard, and what it answers."""

    url: str = ""
    heard: list[Heard] = field(default_factory=list)
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    talk: Callable[[BaseHTTPRequestHandler], None] | None = None
    """Instead of an answer."""
    done: threading.Event = field(default_factory=threading.Event)
    """Set when the test is over: whoever hangs may go."""

    def hang(self, _: BaseHTTPRequestHandler) -> None:
        """Say nothing."""
        self.done.wait(60)

    def drip(self, handler: BaseHTTPRequestHandler) -> None:
        """Say one letter at a time, for ever: no single read ever times out."""
        with contextlib.suppress(OSError):
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            while not self.done.wait(0.05):
                handler.wfile.write(b"x")
                handler.wfile.flush()

    def close(self, handler: BaseHTTPRequestHandler) -> None:
        """End the connection without a word."""
        handler.connection.shutdown(socket.SHUT_RDWR)

    def late(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer, in the end."""
        time.sleep(0.5)
        handler.send_response(200)
        handler.end_headers()


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Listen on a free port."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.heard.append(Heard(self.path, headers, body))
            if receiver.talk:
                receiver.talk(self)
                return
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(b"a private answer")

        do_GET = do_POST  # noqa: N815  # what follows a redirect would come as a GET

        def log_message(self, *_: object) -> None:
            """Be quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield receiver
    finally:
        receiver.done.set()
        server.shutdown()
        thread.join()
        server.server_close()
