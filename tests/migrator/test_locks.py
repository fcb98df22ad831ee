"""The migration lock is on the thing itself: the file by any name, the database, the schema."""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.dialects.driver import ask
from headway.dialects.sqlite.lock import FileLock
from headway.errors import DatabaseLocked
from headway.project import Project
from headway.types import Holder
from tests import servers
from tests.conftest import database_on
from tests.migrator.making import HOLD, make_project, rows, run, table

HERE = Path(__file__).parents[2]
UPGRADE = """
import sys
from headway.project import Project
from headway.types import Holder
from headway.errors import HeadwayError
try:
    Project.load(sys.argv[1]).at(sys.argv[2], lock_wait=60).upgrade()
except HeadwayError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", a=table("person"), b=table("pet"))


def typed(url: URL | Path) -> str:
    return str(URL.create("sqlite", database=str(url))) if isinstance(url, Path) else _text(url)


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)


@contextlib.contextmanager
def holding(url: URL | Path, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the migration lock of a database."""
    flag = folder / f"held-{time.monotonic_ns()}"
    process = subprocess.Popen([sys.executable, "-c", HOLD, typed(url), str(flag)], cwd=HERE)
    try:
        deadline = time.monotonic() + 60
        while not flag.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.wait()


def told_by(address: object) -> str:
    """Why the lock is not to be had by this name; empty if it is."""
    try:
        with held(Address.of(address), Policy(lock_wait=0)):  # type: ignore[arg-type]
            return ""
    except DatabaseLocked as error:
        return str(error)


def is_free(address: object) -> bool:
    """True if the lock is to be had, by this name."""
    return not told_by(address)


# --- a file ---------------------------------------------------------------------------------------


def names_of(real: Path) -> dict[str, object]:
    """Other names of a file, from links to what only an engine knows."""
    folder = real.parent
    (folder / "link.db").symlink_to(real)
    (folder / "chain.db").symlink_to("link.db")
    (folder / "folder").symlink_to(folder)
    (folder / "hard.db").hardlink_to(real)
    (folder / "sub").mkdir()
    (folder / "sub" / "hard.db").hardlink_to(real)
    opened = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(real))
    return {
        "itself": real,
        "link": folder / "link.db",
        "chain": folder / "chain.db",
        "folder": folder / "folder" / real.name,
        "dots": folder / "sub" / ".." / real.name,
        "relative": f"sqlite:///{os.path.relpath(real)}",
        "uri": f"sqlite:///file:{real}?uri=true",
        "hard link": folder / "hard.db",
        "hard link elsewhere": folder / "sub" / "hard.db",
        "creator": opened,
    }


def test_a_file_is_locked_under_all_of_its_names(project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    real = folder / "real.db"
    project.at(real).upgrade("a")
    names = names_of(real)
    with holding(real, tmp_path) as process:
        assert (folder / "real.db.migrate.lock").exists()
        assert [name for name, there in names.items() if is_free(there)] == []
        for name in ("link", "hard link", "hard link elsewhere"):
            with pytest.raises(DatabaseLocked, match=f"by process {process.pid} on"):
                project.at(names[name], lock_wait=0.2).upgrade()
        process.kill()
        process.wait()
        assert [name for name, there in names.items() if not is_free(there)] == []
    with holding(names["hard link"], tmp_path):  # type: ignore[arg-type]
        assert [name for name, there in names.items() if is_free(there)] == []
    assert project.at(folder / "sub" / "hard.db").upgrade().after == ("b",)
    left = {file.name for file in folder.rglob("*") if "lock" in file.name}
    assert left <= {"real.db.migrate.lock", "hard.db.migrate.lock"}  # of those that were killed


def test_a_file_that_is_not_there_yet_is_locked_by_where_it_will_be(
    project: Project, tmp_path: Path
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (tmp_path / "also").symlink_to(folder)
    (tmp_path / "dangling.db").symlink_to(folder / "new.db")
    with holding(folder / "new.db", tmp_path):
        assert not is_free(tmp_path / "also" / "new.db")
        assert not is_free(tmp_path / "dangling.db")
        assert is_free(tmp_path / "new.db")


def test_two_processes_upgrade_a_file_by_two_names_once(tmp_path: Path) -> None:
    counted = "op.execute('UPDATE person SET id = id + 1')\ntime.sleep(0.5)"
    folder = tmp_path / "one"
    project = make_project(folder, a=table("person"), b=counted)
    for kind in ("symlink_to", "hardlink_to"):
        real, other = tmp_path / f"{kind}.db", tmp_path / f"{kind}-other.db"
        project.at(real).upgrade("a")
        with contextlib.closing(sqlite3.connect(real)) as connection, connection:
            connection.execute("INSERT INTO person VALUES (1, 'Ada')")
        getattr(other, kind)(real)
        racing = [
            subprocess.Popen([sys.executable, "-c", UPGRADE, str(folder), typed(name)], cwd=HERE)
            for name in (real, other)
        ]
        assert [process.wait(90) for process in racing] == [0, 0]
        assert rows(URL.create("sqlite", database=str(real)), "SELECT id FROM person") == [(2,)]


def test_a_lock_takes_no_lock_of_the_applications_away(project: Project, tmp_path: Path) -> None:
    """SQLite's own locks are the process's: to close the file would give them up."""
    real, other = tmp_path / "real.db", tmp_path / "other.db"
    project.at(real).upgrade("a")
    other.hardlink_to(real)
    writes = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None); "
        "c.execute('BEGIN IMMEDIATE')"
    )
    with contextlib.closing(sqlite3.connect(real, isolation_level=None)) as application:
        application.execute("BEGIN IMMEDIATE")
        for name in (real, other):
            assert is_free(name)
        done = subprocess.run([sys.executable, "-c", writes, str(real)], capture_output=True)
        assert b"database is locked" in done.stderr
        application.execute("ROLLBACK")


# --- a schema -------------------------------------------------------------------------------------


@pytest.fixture
def tenants(postgresql_url: URL) -> Callable[[str], URL]:
    """The URL of a tenant's schema in one database."""
    run(postgresql_url, "CREATE SCHEMA a", "CREATE SCHEMA b")
    return lambda options: postgresql_url.update_query_dict({"options": options})


def test_tenants_migrate_beside_each_other_and_never_with_the_whole(
    postgresql_url: URL, tenants: Callable[[str], URL], tmp_path: Path
) -> None:
    a, b = tenants("-csearch_path=a"), tenants("-csearch_path=b")
    with holding(a, tmp_path) as process:
        assert is_free(b)
        for spelling in ("--search_path=a", "-c search_path=a,public", "-csearch_path=A"):
            assert not is_free(tenants(spelling))
        assert not is_free(postgresql_url)
        assert not is_free(tenants("-csearch_path=nowhere,public"))  # has all of it
        for url in (a, postgresql_url):
            assert f"by process {process.pid} on" in told_by(url)
    with holding(postgresql_url, tmp_path) as process:
        assert not is_free(postgresql_url)
        assert f"by process {process.pid} on" in told_by(b)
    assert is_free(postgresql_url)


def test_a_release_that_knows_no_schemas_is_kept_out_and_keeps_out(
    postgresql_url: URL, tenants: Callable[[str], URL]
) -> None:
    key = -5850590955896264627  # of every release: it may not change
    a = tenants("-csearch_path=a")
    with Address.of(postgresql_url).open() as old:
        assert ask(old, "SELECT pg_try_advisory_lock(%s)", [key]) == [(True,)]
        assert not is_free(a)
        assert not is_free(postgresql_url)
        ask(old, "SELECT pg_advisory_unlock(%s)", [key])
        with held(Address.of(a), Policy(lock_wait=0)):
            assert ask(old, "SELECT pg_try_advisory_lock(%s)", [key]) == [(False,)]
        assert ask(old, "SELECT pg_try_advisory_lock(%s)", [key]) == [(True,)]


BOTH_ARE_HERE = """
query = (
    "SELECT count(DISTINCT pid) FROM pg_locks WHERE locktype = 'advisory' AND granted AND "
    "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
deadline = time.monotonic() + 60
while op.get_bind().exec_driver_sql(query).scalar() < 2:
    assert time.monotonic() < deadline
    time.sleep(0.02)
op.get_bind().exec_driver_sql("SELECT pg_sleep(0.5)")
"""


def test_tenants_of_one_database_are_upgraded_at_once(
    tenants: Callable[[str], URL], tmp_path: Path
) -> None:
    folder = tmp_path / "both"
    make_project(folder, a=f"{table('person')}\n{BOTH_ARE_HERE}")
    here = [sys.executable, "-c", UPGRADE, str(folder)]
    urls = [tenants(f"-csearch_path={schema}") for schema in "ab"]
    racing = [subprocess.Popen([*here, typed(url)], cwd=HERE) for url in urls]
    assert [process.wait(90) for process in racing] == [0, 0]


# --- a name in capital letters --------------------------------------------------------------------


def test_two_spellings_of_one_database_on_mariadb_have_one_lock(tmp_path: Path) -> None:
    program = shutil.which("mariadbd", path=servers.SYSTEM)
    if program is None:
        servers.missing("MariaDB", "apt-get install mariadb-server")
    with (
        servers.own_mariadb(program, "--lower-case-table-names=1") as server,
        database_on(server) as url,
    ):
        capitals = url.set(database=str(url.database).upper())
        for one, other in ((url, capitals), (capitals, url), (capitals, capitals)):
            with held(Address.of(one), Policy(lock_wait=0)):
                assert not is_free(other)
            assert is_free(other)


def test_what_a_killed_holder_left_in_the_lock_file_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And never by emptying the file: ext4 writes such a file to the disk when it is closed."""
    sizes: list[int] = []
    ftruncate = os.ftruncate

    def noted(file: int, size: int) -> None:
        sizes.append(size)
        ftruncate(file, size)

    monkeypatch.setattr(os, "ftruncate", noted)
    database = tmp_path / "a.db"
    database.touch()
    me = Holder.myself("1.0")
    left = FileLock(database, "migrate")
    assert left.path is not None
    for before in ("", json.dumps(Holder.myself("a release with a long name").as_json()), "{"):
        left.path.write_text(before)
        lock = FileLock(database, "migrate")
        assert lock.try_acquire(me)
        try:
            assert left.holder() == me
        finally:
            lock.release()
    assert len(sizes) == 1
    assert sizes[0] > 0
