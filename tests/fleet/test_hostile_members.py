"""Members whose database was made by somebody who means harm: each is told, all others go on."""

import contextlib
import os
import sqlite3
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet import databases
from app.fleet.isolation import parent
from app.fleet.isolation.messages import ProbeResult
from app.fleet.refresh import probe, refresh
from app.models import Database
from headway import Project, status
from headway.errors import VersionsUnreadable
from headway.types import Position, Status
from tests.fleet.conftest import ROOT, ready_project
from tests.impostors import Line, _exactly, _serving
from tests.migrator.making import run
from tests.migrator.scripts import write_project
from tests.servers import free_port

VIEW = "CREATE VIEW alembic_version AS "
TABLE = "CREATE TABLE alembic_version (version_num)"
COUNT = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
ADD = "INSERT INTO alembic_version VALUES "
FILES = {
    "integer": (TABLE, f"{ADD} (5)"),
    "blob": (TABLE, f"{ADD} (x'00ff')"),
    "null": (TABLE, f"{ADD} (NULL)"),
    "mixed": (TABLE, f"{ADD} (5), (x'00'), (NULL), ('r001')"),
    "long": (TABLE, f"{ADD} (printf('%.*c', 300, 'x'))"),
    "joined": (TABLE, f"{ADD} ('r001+r002')"),
    "escapes": (TABLE, f"{ADD} ('a' || char(27) || '[31m' || char(10) || 'forged')"),
    "turned": (TABLE, f"{ADD} ('a' || char(8238) || 'b')"),
    "endless": (f"{VIEW} {COUNT} SELECT 'r' || n AS version_num FROM c",),
    "zeros": (f"{VIEW} SELECT hex(zeroblob(400000000)) AS version_num",),
    "many": (TABLE, f"{ADD} {', '.join(f'({chr(39)}v{n}{chr(39)})' for n in range(201))}"),
    "generated": (
        "CREATE TABLE alembic_version (a, version_num AS (hex(zeroblob(400000))))",
        "INSERT INTO alembic_version (a) VALUES (1)",
    ),
    "wide": (TABLE, f"{ADD} {', '.join(f'({chr(39)}{n:0>99}{chr(39)})' for n in range(9))}"),
    "history": (
        TABLE,
        f"{ADD} ('r001')",
        "CREATE TABLE headway_history (id INTEGER PRIMARY KEY, revision AS (hex(zeroblob(400000))),"
        " action, outcome, checksum)",
        "INSERT INTO headway_history (action) VALUES ('upgrade')",
    ),
}
DEADLY = """
import os
from alembic import context
from sqlalchemy import create_engine, event
engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
@event.listens_for(engine, "connect")
def connected(raw, _):
    if raw.execute("PRAGMA database_list").fetchone()[2].endswith("deadly.db"):
        os._exit(7)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
BURNING = f"{VIEW} {COUNT} SELECT 'r001' AS version_num FROM c WHERE n < 0"
SECONDS = 3.0
"""How long a database may take to answer here."""
GROWTH = 1.2
"""How much more memory a process may have after a round than before it."""


def _hello_postgresql(line: Line) -> None:
    while True:
        (size,) = struct.unpack("!I", _exactly(line, 4))
        if _exactly(line, size - 4)[:3] != b"\x04\xd2\x16":
            break
        line.sendall(b"N")
    line.sendall(b"R" + struct.pack("!II", 8, 0))
    for name, value in (("server_version", "18.0"), ("client_encoding", "UTF8")):
        body = name.encode() + b"\0" + value.encode() + b"\0"
        line.sendall(b"S" + struct.pack("!I", 4 + len(body)) + body)
    line.sendall(b"K" + struct.pack("!III", 12, 1, 2) + b"Z" + struct.pack("!I", 5) + b"I")


def _hello_mariadb(line: Line) -> None:
    able = 0x0200 | 0x8000 | 0x00080000 | 0x01 | 0x08
    hello = b"\x0a5.5.5-10.11.0-MariaDB\0" + struct.pack("<I", 1) + b"A" * 8 + b"\0"
    hello += struct.pack("<HBHH", able & 0xFFFF, 0x21, 2, able >> 16)
    hello += b"\x15" + b"\0" * 10 + b"B" * 12 + b"\0mysql_native_password\0"
    line.sendall(struct.pack("<I", len(hello))[:3] + b"\0" + hello)
    head = _exactly(line, 4)
    _exactly(line, int.from_bytes(head[:3], "little"))
    line.sendall(b"\x07\0\0\x02" + b"\0\0\0\x02\0\0\0")


def _pour(line: Line, beginning: bytes, more: bytes) -> None:
    """Answer the first question without an end."""
    line.recv(4096)
    line.sendall(beginning)
    while True:
        line.sendall(more)


COLUMN = b"version_num\0" + struct.pack("!IhIhih", 0, 0, 25, -1, -1, 0)
ROWS = b"T" + struct.pack("!Ih", 6 + len(COLUMN), 1) + COLUMN
MEGABYTE = b"x" * 2**20
ROW = b"D" + struct.pack("!Ihi", 10 + 2**20, 1, 2**20) + MEGABYTE
PACKET = b"\xff\xff\xff\x01" + b"\1" * (2**24 - 1)
"""The largest of MySQL's: what comes after it belongs to the same answer, which has no end."""
POSTGRESQL: dict[str, Callable[[Line], object]] = {
    "silent": lambda line: _exactly(line, 2**30),
    "rows": lambda line: _pour(line, ROWS, ROW),
    "lying": lambda line: _pour(
        line, ROWS + b"D" + struct.pack("!Ihi", 2**30, 1, 2**30 - 10), MEGABYTE
    ),
}
MARIADB: dict[str, Callable[[Line], object]] = {
    "silent": lambda line: _exactly(line, 2**30),
    "rows": lambda line: _pour(line, b"", PACKET),
    "lying": lambda line: _pour(line, b"\xff\xff\xff\x01\xfe" + b"\xff" * 8, MEGABYTE),
}


@contextlib.contextmanager
def impostors() -> Iterator[dict[str, str]]:
    """Servers that take everybody in and answer as they like: name -> URL."""
    with contextlib.ExitStack() as stack:
        urls = {}
        for scheme, hello, kinds in (
            ("postgresql", _hello_postgresql, POSTGRESQL),
            ("mysql", _hello_mariadb, MARIADB),
        ):
            for name, answer in kinds.items():
                talk = lambda line, _, hello=hello, answer=answer: (hello(line), answer(line))  # noqa: E731
                port = stack.enter_context(_serving(talk)).port
                urls[f"{scheme} {name}"] = f"{scheme}://u:p@127.0.0.1:{port}/d"
        yield urls


def memory_of(process: int) -> int:
    """The memory that a process has now, in bytes; 0 for one that has ended."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4096
    return 0


def make_files(folder: Path) -> dict[str, Path]:
    made = {}
    for name, statements in FILES.items():
        made[name] = folder / f"{name}.db"
        with contextlib.closing(sqlite3.connect(made[name])) as file:
            for statement in statements:
                file.execute(statement)
            file.commit()
    made["burning"] = folder / "burning.db"
    with contextlib.closing(sqlite3.connect(made["burning"])) as file:
        file.execute(BURNING)
    made["garbage"] = folder / "garbage.db"
    made["garbage"].write_bytes(os.urandom(9000))
    made["cut"] = folder / "cut.db"
    made["cut"].write_bytes(made["many"].read_bytes()[:5000])
    for name in ("fifo", "device"):
        made[name] = folder / f"{name}.db"
        made[name].touch()
    return made


def found(name: str) -> Database:
    return db.session.query(Database).filter_by(name=name).one()


def test_hostile_members_stop_nobody_and_take_no_memory(
    fleet_anywhere: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refresh, "RefreshBatch", partial(probe.RefreshBatch, seconds=SECONDS))
    shop = ready_project(write_project(tmp_path / "scripts", 3))
    folder = tmp_path / "members"
    folder.mkdir()
    files = make_files(folder)
    good = {f"good{n:02}": folder / f"good{n:02}.db" for n in range(40)}
    for file in good.values():
        with contextlib.closing(sqlite3.connect(file)) as plain:
            plain.execute(TABLE)
            plain.execute(f"{ADD} ('r003')")
            plain.commit()
    closed = {kind: f"{kind}://u:p@127.0.0.1:{free_port()}/d" for kind in ("postgresql", "mysql")}
    with impostors() as servers:
        rows = [{"name": n, "url": f"sqlite:///{f}"} for n, f in (files | good).items()]
        rows += [{"name": name, "url": url} for name, url in (servers | closed).items()]
        assert databases.register_many(ROOT, shop, rows).added == len(rows)
        files["fifo"].unlink()
        os.mkfifo(files["fifo"])
        files["device"].unlink()
        files["device"].symlink_to("/dev/zero")
        # Those of each kind, so that a process has loaded all drivers before it is measured.
        harmless = [found(name).id for name in ("good00", *closed)]
        refresh.refresh(shop, harmless)
        first = parent._prober.process
        assert first
        assert first.popen
        ours, theirs = memory_of(os.getpid()), memory_of(first.popen.pid)
        assert refresh.refresh(shop) == len(rows)

        db.session.expire_all()
        stand = {row.name: row.position for row in db.session.query(Database)}
        assert {stand[name] for name in good} == {"at_head"}
        assert {name: stand[name] for name in FILES} == dict.fromkeys(FILES, "foreign")
        others = ("burning", "garbage", "cut", "fifo", "device", *servers, *closed)
        assert {stand[name] for name in others} <= {"unreachable", "foreign"}
        assert all(found(name).reason for name in (*FILES, *others))
        assert all((found(name).reason or "").isprintable() for name in (*FILES, *others))
        assert all(found(name).current == "" for name in (*FILES, *others))
        assert memory_of(os.getpid()) < ours * GROWTH
        assert memory_of(first.popen.pid) == 0, "what hung is ended with its process"
        assert refresh.refresh(shop, harmless) == len(harmless)
        again = parent._prober.process
        assert again
        assert again.popen
        assert memory_of(again.popen.pid) < theirs * GROWTH


def test_a_probe_that_ends_its_process_costs_no_other_its_answer(
    fleet_here: Flask, tmp_path: Path
) -> None:
    scripts = write_project(tmp_path / "scripts", 1)
    (scripts / "env.py").write_text(DEADLY)
    shop = ready_project(scripts)
    names = [f"n{n}" for n in range(5)]
    for name in (*names, "deadly"):
        (tmp_path / f"{name}.db").touch()
    rows = [{"name": n, "url": f"sqlite:///{tmp_path}/{n}.db"} for n in ("deadly", *names)]
    assert databases.register_many(ROOT, shop, rows).added == 6
    assert refresh.refresh(shop) == 6
    assert found("deadly").position == "unreachable"
    assert "exit code 7" in (found("deadly").reason or "")
    assert {found(name).position for name in names} == {"empty"}


def test_what_cannot_be_stored_costs_its_own_row_alone(
    fleet_anywhere: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = ready_project(write_project(tmp_path / "scripts", 1))
    rows = [{"name": f"n{n}", "url": f"sqlite:///{tmp_path}/n{n}.db"} for n in range(3)]
    assert databases.register_many(ROOT, shop, rows).added == 3
    at = found("n0").created_at
    seen = [Status(position=Position.EMPTY), Status(position=Position.EMPTY, current=(b"x", 1))]  # type: ignore[arg-type]
    results = [(found(f"n{n}").id, ProbeResult(at=at, look=seen[n == 1])) for n in range(3)]
    assert refresh._store_results(results) == 3
    db.session.expire_all()
    assert [found(f"n{n}").position for n in range(3)] == ["empty", "unreachable", "empty"]
    assert "TypeError" in (found("n1").reason or "")


def test_a_file_that_only_burns_time_is_ended_by_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "READ_SECONDS", 0.2)
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as file:
        file.execute(BURNING)
    project = Project.load(write_project(tmp_path / "scripts", 1))
    seen = project.at(tmp_path / "a.db").status()
    assert (seen.position, seen.current) == (Position.FOREIGN, ())
    assert "more time or memory" in (seen.reason or "")


@pytest.mark.parametrize("kind", sorted(FILES.keys() - {"wide"}))
def test_no_operation_begins_on_what_is_no_version(kind: str, tmp_path: Path) -> None:
    file = make_files(tmp_path)[kind]
    before = file.read_bytes()
    with pytest.raises(VersionsUnreadable, match="Nothing was changed"):
        Project.load(write_project(tmp_path / "scripts", 1)).at(file).upgrade()
    assert file.read_bytes() == before


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_a_slow_view_on_a_server_is_ended_there(
    backend: str,
    fleet_here: Flask,
    tmp_path: Path,
    fresh_url: Callable[..., URL],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the server, and not by us: it would go on with what nobody waits for."""
    monkeypatch.setattr(status, "READ_SECONDS", 0.2)
    url = fresh_url(backend)
    nap = "pg_sleep(30)::text" if backend == "postgresql" else "sleep(30)"
    run(url, f"CREATE VIEW alembic_version AS SELECT {nap} AS version_num")
    seen = Project.load(write_project(tmp_path / "scripts", 1)).at(url).status()
    assert seen.position is Position.UNREACHABLE
    assert seen.reason
    assert "gave up" in seen.reason
