"""The web worker, in real gunicorn processes: the protocol, slow clients, restarts."""

import contextlib
import http.client
import json
import re
import select
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.processes import web_worker
from tests import servers
from tests.processes import echo

ROOT = Path(__file__).resolve().parent.parent.parent
WORKER = "app.processes.web_worker.WebWorker"
QUICK = """
from app.processes import web_connection, web_request
web_request.PATIENCE = web_connection.PATIENCE = 4
"""
"""A configuration whose deadlines a test can wait for."""


class Server:
    """gunicorn with an app that shows what it gets."""

    def __init__(self, folder: Path, *options: str, config: str = "") -> None:
        self.port, self.log = servers.free_port(), folder / f"log-{time.monotonic_ns()}"
        (folder / "conf.py").write_text(config)
        command = [
            *(str(Path(sys.executable).with_name("gunicorn")), "tests.processes.echo:app"),
            *("--config", str(folder / "conf.py"), "--pythonpath", str(ROOT), "-k", WORKER),
            *("--bind", f"127.0.0.1:{self.port}", "--threads", "2"),
            *("--keep-alive", "20", *options),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def until_up(self) -> "Server":
        deadline = time.monotonic() + 60
        while "Booting worker" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return self

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def connect(self, timeout: float = 60) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def get(self, path: str, method: str = "GET", **more: Any) -> Any:
        """The answer to one request, read as JSON."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        ) as connection:
            connection.request(method, path, **more)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
            return json.loads(answer.read())

    def raw(self, sent: bytes) -> bytes:
        """All that comes until the server closes."""
        with self.connect() as client:
            client.sendall(sent)
            return read_all(client)


def read_all(client: socket.socket) -> bytes:
    found = b""
    while part := client.recv(65536):
        found += part
    return found


def statuses(found: bytes) -> list[int]:
    return [int(each) for each in re.findall(rb"HTTP/1\.[01] (\d+)", found)]


def answer_on(client: socket.socket) -> Any:
    """One answer of a connection that stays open."""
    found = b""
    while b"\r\n\r\n" not in found:
        part = client.recv(65536)
        assert part, found
        found += part
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(re.findall(rb"Content-Length: (\d+)", head)[0])
    while len(body) < length:
        body += client.recv(65536)
    return json.loads(body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = Server(tmp_path_factory.mktemp("server"))
    yield running.until_up()
    assert running.stop() == 0, running.log.read_text()
    assert "Error on a connection" not in running.log.read_text()


Started = Callable[..., Server]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Started]:
    running: list[Server] = []

    def one(*options: str, config: str = "") -> Server:
        running.append(Server(tmp_path, *options, config=config))
        return running[-1].until_up()

    yield one
    for each in running:
        each.process.kill()
        each.process.wait()


# The protocol.


def test_a_connection_is_used_again(server: Server) -> None:
    with server.connect() as client:
        for number in range(3):
            client.sendall(f"GET /{number} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert answer_on(client)["path"] == f"/{number}"


def test_requests_that_are_sent_at_once_are_answered_in_order(server: Server) -> None:
    one = "POST /sleep/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    last = "GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    found = server.raw((one.format(0.2) + one.format(0) + last).encode())
    assert statuses(found) == [200] * 3
    assert re.findall(rb'"path": "([^"]+)"', found) == [b"/sleep/0.2", b"/sleep/0", b"/last"]


def test_http_1_0_is_closed_unless_it_asks_otherwise(server: Server) -> None:
    found = server.raw(b"GET /a HTTP/1.0\r\n\r\n")
    assert statuses(found) == [200]
    with server.connect() as client:
        for _ in range(2):
            client.sendall(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert answer_on(client)["path"] == "/a"


def test_a_body_in_chunks(server: Server) -> None:
    parts = [b"a" * 70_000, b"b", b"c" * 1000]
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        for _ in range(2):
            connection.request("POST", "/", body=iter(parts), encode_chunked=True)
            found = json.loads(connection.getresponse().read())
            assert found["length"] == 71_001
            assert found["sum"] == sum(b"".join(parts))


def test_chunks_with_extensions_and_trailers(server: Server) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b'5;name="v"\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n'
    last = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with server.connect() as client:
        for piece in (head, *(bytes([byte]) for byte in chunks), head + chunks + last):
            client.sendall(piece)
        found = read_all(client)
    assert re.findall(rb'"said": "(\w*)"', found) == [b"hello", b"hello", b""]


def test_a_client_that_waits_for_100_continue_gets_one(server: Server) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    with server.connect() as client:
        client.sendall(head)
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"hello")
        assert answer_on(client)["said"] == "hello"
        client.sendall(head + b"again")
        assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n", "and one only"
        assert answer_on(client)["said"] == "again"


def test_the_largest_body_there_is(server: Server) -> None:
    body = bytes(range(256)) * (web_worker.LARGEST_BODY // 256)
    found = server.get("/", "POST", body=body)
    assert (found["length"], found["sum"]) == (len(body), sum(body))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_not_read(server: Server, chunked: bool) -> None:
    """The app answers by the head; whatever it says, the connection ends and no byte of it is a request."""
    inner = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    body = inner * (4 * web_worker.LARGEST_BODY // len(inner))
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(body)}"
    head = f"POST /unread HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{framing}\r\n\r\n"
    size = f"{len(body):x}\r\n" if chunked else ""
    with server.connect() as client:
        client.sendall((head + size).encode())
        with contextlib.suppress(ConnectionError):
            client.sendall(body)
        found = read_all(client)
    assert statuses(found) == ([100, 200] if chunked else [200])
    assert b"Connection: close" in found


@pytest.mark.parametrize("lines", [b"1\r\na\r\n", b"0\r\n" + b"a:b\r\n" * 400_000])
def test_many_small_chunks_hold_nobody_up(server: Server, lines: bytes) -> None:
    head = b"POST /unread HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    many = lines if lines.startswith(b"0") else lines * 300_000 + b"0\r\n\r\n"
    with contextlib.ExitStack() as clients:
        for _ in range(4):
            client = clients.enter_context(server.connect())
            threading.Thread(target=_send, args=(client, head + many), daemon=True).start()
        began = time.monotonic()
        for _ in range(5):
            assert server.get("/")["length"] == 0
        assert time.monotonic() - began < 5
    some = b"1\r\na\r\n" * 5_000 + b"0\r\n\r\n"
    assert b'"length": 5000' in server.raw(
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + some
    )


def _send(client: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        client.sendall(data)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: magic\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n\r\n", 417),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_request_is_refused(server: Server, sent: bytes, status: int) -> None:
    assert statuses(server.raw(sent)) == [status]


MALFORMED = (
    *(b"zz\r\n", b"-1\r\nabc\r\n", b"+2\r\n{}\r\n", b"0x2\r\n{}\r\n", b"0_2\r\n{}\r\n", b"\r\n"),
    *(b" 2\r\n{}\r\n", b"2;\nxx\r\n{}\r\n", b"2;=\r\n{}\r\n", b"2;a\rb\r\n{}\r\n"),
    *(b"2\r\n{}X0\r\n", b"2\r\n{}\n0\r\n", b"0\r\nno trailer\r\n", b"0\r\nX : y\r\n"),
    *(b"0\r\n a: folded\r\n", b"1" + b";a" * 70_000),
)


@pytest.mark.parametrize("path", ["/", "/unread"])
def test_no_app_sees_a_body_of_malformed_chunks(server: Server, path: str) -> None:
    """An app that reads takes the server's error for its own, and one that does not goes on."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    for chunks in MALFORMED:
        inner = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
        found = server.raw(head + chunks + b"0\r\n\r\n" + inner)
        assert statuses(found) == [400], chunks[:40]


def test_a_client_that_has_sent_all_may_close_its_side(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"GET /sleep/0.2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert statuses(read_all(client)) == [200]


def test_a_client_that_goes_away_in_its_body_is_forgotten(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""


@pytest.mark.parametrize("path", ["/file", "/file-in-chunks"])
def test_a_file(server: Server, path: str) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        for _ in range(2):
            connection.request("GET", path)
            assert connection.getresponse().read() == Path(echo.__file__).read_bytes()
        connection.request("HEAD", path)
        assert connection.getresponse().read() == b""
        connection.request("GET", "/after")
        assert connection.getresponse().status == 200


def test_an_answer_larger_than_a_thread_may_write_ahead(server: Server) -> None:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        connection.request("GET", "/parts/200")
        assert connection.getresponse().read() == b"x" * 20_000_000
        connection.request("GET", "/large/20000000")
        assert connection.getresponse().read() == b"x" * 20_000_000


def test_an_answer_that_breaks_off_is_seen_to(server: Server) -> None:
    found = server.raw(b"GET /breaks HTTP/1.1\r\nHost: x\r\n\r\n")
    assert found.endswith(b"\r\n\r\nbegun")


def test_events_arrive_as_they_happen_and_end_with_their_client(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"GET /stream/0.1 HTTP/1.1\r\nHost: x\r\n\r\n")
        found, began = b"", time.monotonic()
        while b"data: 3" not in found:
            found += client.recv(65536)
        assert time.monotonic() - began < 30, "a hundred seconds of events were not waited for"
    deadline = time.monotonic() + 30
    while server.get("/")["streams"]:
        assert time.monotonic() < deadline, "it goes on for a client that is gone"
        time.sleep(0.1)


# Slow clients.

STALLED = {
    "head": b"GET / HTTP/1.1\r\nHost: x\r\nX: ",
    "body": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\nabc",
    "chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\nabc",
    "size of a chunk": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nff",
    "trailer": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: ",
}


def test_each_part_of_a_request_has_a_deadline(start: Started) -> None:
    """However busily a client goes on, a byte at a time; nor does it keep a thread meanwhile."""
    server = start("--keep-alive", "4", config=QUICK)
    ended: dict[str, tuple[float, bytes]] = {}

    def drip(name: str, sent: bytes) -> None:
        began = time.monotonic()
        with server.connect(0.1) as client:
            client.sendall(sent)
            while time.monotonic() - began < 60:
                with contextlib.suppress(TimeoutError):
                    ended[name] = (time.monotonic() - began, client.recv(100))
                    return
                with contextlib.suppress(ConnectionError):
                    client.sendall(b"" if name == "silent" else b"1")

    kinds = STALLED | {"silent": b""}
    threads = [threading.Thread(target=drip, args=each) for each in kinds.items()]
    for thread in threads:
        thread.start()
    for _ in range(5):
        server.get("/")
    for thread in threads:
        thread.join()
    assert {name: found[:12] for name, (_, found) in ended.items()} == {
        **dict.fromkeys(STALLED, b"HTTP/1.1 408"),
        "silent": b"",
    }
    assert all(seconds > 3 for seconds, _ in ended.values())


def test_a_client_that_does_not_read_keeps_no_thread(start: Started) -> None:
    server = start("--keep-alive", "4", config=QUICK)
    clients = []
    for path in ("/large/3000000", "/file", "/parts/30") * 3:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        client.connect(("127.0.0.1", server.port))
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 20)
        clients.append(client)
    for _ in range(5):
        server.get("/")
    until_closed(server, clients)


def until_closed(server: Server, clients: list[socket.socket]) -> None:
    """Until the server has given them up."""
    (worker,) = psutil.Process(server.process.pid).children()
    mine = {client.getsockname()[1] for client in clients}
    deadline = time.monotonic() + 150
    while mine & {each.raddr.port for each in worker.net_connections("tcp") if each.raddr}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for client in clients:
        client.close()


def test_at_the_limit_the_one_that_has_waited_longest_goes(start: Started) -> None:
    server = start("--worker-connections", "20", "--keep-alive", "60")
    silent = [server.connect() for _ in range(60)]
    assert server.get("/")["path"] == "/", "a new one is let in"
    for client in silent[:20]:
        assert client.recv(1) == b""
    silent[-1].sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer_on(silent[-1])["path"] == "/", "a young one is still there"
    for client in silent:
        client.close()


def test_what_is_kept_for_clients_has_a_limit(start: Started) -> None:
    server = start(config="from app.processes import web_worker; web_worker.MOST_HELD = 5_000_000")
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.sendall(STALLED["body"] + b"x" * 850_000)
    assert server.get("/")["path"] == "/"
    gone = 0
    for client in clients:
        client.settimeout(0.1)
        try:
            gone += client.recv(1) == b""
        except ConnectionResetError:
            gone += 1
        except TimeoutError:
            pass
        client.close()
    assert 13 <= gone < 20


def test_health_checks_are_answered_while_every_thread_is_busy(start: Started) -> None:
    server = start()
    with busy_for(server, 6, 4) as busy:
        assert server.get("/healthz")["path"] == "/healthz"
        assert server.get("/readyz")["path"] == "/readyz"
        form = (
            b"POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nConnection: close\r\n\r\na"
        )
        assert statuses(server.raw(form)) == [200], "which has threads of its own"
        assert not select.select(busy, [], [], 0)[0][2:], "there were threads to spare"
        for client in busy:
            assert statuses(read_all(client)) == [200]


@contextlib.contextmanager
def busy_for(server: Server, seconds: int, count: int) -> Iterator[list[socket.socket]]:
    """So many requests that take so long; there are two threads for them."""
    with contextlib.ExitStack() as stack:
        busy = [stack.enter_context(server.connect()) for _ in range(count)]
        for client in busy:
            sent = f"GET /sleep/{seconds} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            client.sendall(sent.encode())
        time.sleep(0.5)
        yield busy


def test_more_than_can_be_answered_is_refused_at_once(start: Started) -> None:
    server = start("--worker-connections", "10")
    with busy_for(server, 4, 5) as busy:
        refused = server.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert statuses(refused) == [503]
        assert b"Retry-After" in refused
        assert server.get("/healthz")
        for client in busy:
            assert statuses(read_all(client)) == [200]


# Stopping and starting.


def test_a_stop_lets_requests_end_and_idle_clients_go(start: Started) -> None:
    server = start("--keep-alive", "60")
    with server.connect() as running, server.connect() as idle, server.connect() as half:
        idle.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer_on(idle)
        running.sendall(b"GET /sleep/3 HTTP/1.1\r\nHost: x\r\n\r\n")
        half.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhel")
        time.sleep(0.5)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        half.sendall(b"lo")
        assert b"Connection: close" in read_all(half)
        assert statuses(read_all(running)) == [200]
        assert read_all(idle) == b""
    assert server.process.wait(30) == 0
    assert time.monotonic() - began < 20


def test_a_stop_takes_no_longer_than_it_may(start: Started) -> None:
    server = start("--graceful-timeout", "1")
    with server.connect() as running:
        running.sendall(b"GET /sleep/40 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.5)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 20


def test_a_reload_loses_no_request(start: Started) -> None:
    server = start("--workers", "2")
    wrong: list[str] = []
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            try:
                server.get("/")
            except (OSError, http.client.HTTPException) as error:
                wrong.append(repr(error))

    thread = threading.Thread(target=ask)
    thread.start()
    before = {each.pid for each in psutil.Process(server.process.pid).children()}
    server.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 60
    while before & {each.pid for each in psutil.Process(server.process.pid).children()}:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    done.set()
    thread.join()
    assert wrong == []


def test_a_worker_that_has_served_enough_is_replaced(start: Started) -> None:
    server = start("--max-requests", "5", "--preload")
    (first,) = psutil.Process(server.process.pid).children()
    for _ in range(30):
        server.get("/")
    deadline = time.monotonic() + 30
    while first.is_running():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    server.get("/")


def test_an_interrupt_ends_it_at_once(start: Started) -> None:
    server = start("--graceful-timeout", "30")
    with server.connect():
        began = time.monotonic()
        server.process.send_signal(signal.SIGINT)
        server.process.wait(30)
        assert time.monotonic() - began < 15


# Options.


@pytest.mark.parametrize(
    "option", ["--proxy-protocol=auto", "--http2-cleartext=upgrade", "--protocol=uwsgi"]
)
def test_what_it_does_not_do_is_refused(tmp_path: Path, option: str) -> None:
    server = Server(tmp_path, option)
    assert server.process.wait(60) == 78
    assert "leave their options out" in server.log.read_text()


def test_tls(start: Started, tmp_path: Path) -> None:
    make_certificate(tmp_path)
    server = start(f"--certfile={tmp_path}/cert.pem", f"--keyfile={tmp_path}/key.pem", config=QUICK)
    context = ssl.create_default_context(cafile=str(tmp_path / "cert.pem"))
    with server.connect() as silent, server.connect() as stalled:
        stalled.sendall(b"\x16\x03\x01")
        for _ in range(40):
            with contextlib.closing(
                http.client.HTTPSConnection("localhost", server.port, context=context, timeout=60)
            ) as connection:
                for _ in range(2):
                    connection.request("POST", "/", body=b"a" * 500_000)
                    found = json.loads(connection.getresponse().read())
                    assert (found["length"], found["scheme"]) == (500_000, "https")
                connection.request("GET", "/file")
                assert connection.getresponse().read() == Path(echo.__file__).read_bytes()
        assert silent.recv(1) == b"", "a handshake has a deadline too"
        assert stalled.recv(1) == b""


def make_certificate(folder: Path) -> None:
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
        ],
        check=True,
        capture_output=True,
    )


def test_a_unix_socket(start: Started, tmp_path: Path) -> None:
    server = start("--bind", f"unix:{tmp_path}/socket")
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"{tmp_path}/socket")
        client.sendall(b"GET /unix HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer_on(client)["path"] == "/unix"
    assert server.stop() == 0
