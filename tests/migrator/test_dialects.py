"""What every kind of database has to do for the migrator, tried on all three for real."""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy.engine import URL

from headway import history
from headway.connections.address import Address
from headway.dialects import dialect_of
from headway.dialects.driver import ask
from headway.dialects.mysql import facts as mysql_facts
from headway.dialects.mysql import image as mysql_image
from headway.errors import (
    DatabaseDenied,
    DatabaseExists,
    DatabaseInUse,
    DatabaseLocked,
    DatabaseUnreachable,
    HeadwayError,
    MigrationFailed,
    PoolerInTheWay,
    RowsLost,
    SnapshotNotFound,
)
from headway.project import Project
from headway.types import Holder, Position
from tests import servers
from tests.conftest import database_on
from tests.migrator.making import HOLD, contents, make_project, rows, run, table, tables
from tests.servers import pgbouncer

servers_only = pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)
sqlite_only = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path / "project", a=table("person"), b=table("pet"))


def typed(url: URL) -> str:
    return url.render_as_string(hide_password=False)


# --- the lock -------------------------------------------------------------------------------------


@pytest.fixture
def holder(catalog_url: URL, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the migration lock of a database."""
    flag = tmp_path / "held"
    command = [sys.executable, "-c", HOLD, typed(catalog_url), str(flag)]
    process = subprocess.Popen(command, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 30
    while not flag.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


def test_a_second_process_is_refused_and_told_who_is_at_work(
    project: Project, catalog_url: URL, holder: subprocess.Popen[bytes], backend: str
) -> None:
    told: list[object] = []
    with pytest.raises(DatabaseLocked, match="is being migrated by") as refused:
        project.at(catalog_url, lock_wait=0.5).upgrade(waiting=told.append)
    assert "If it hangs, end it" in str(refused.value)
    assert told
    if backend != "mariadb":  # whose server knows connections, not processes
        assert f"process {holder.pid}" in str(refused.value)
        assert "release tests" in str(refused.value)
    assert project.at(catalog_url).status().position is Position.EMPTY


def test_a_lock_goes_with_the_process_that_held_it(
    project: Project, catalog_url: URL, holder: subprocess.Popen[bytes]
) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert project.at(catalog_url, lock_wait=5).upgrade().after == ("b",)


def test_a_lock_is_given_back_after_a_failure(tmp_path: Path, catalog_url: URL) -> None:
    broken = make_project(tmp_path / "broken", a="raise ValueError('boom')")
    with pytest.raises(MigrationFailed, match="boom"):
        broken.at(catalog_url).upgrade()
    with pytest.raises(MigrationFailed, match="boom"):
        broken.at(catalog_url, lock_wait=0).upgrade()


# --- all or nothing -------------------------------------------------------------------------------


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, catalog_url: URL, backend: str
) -> None:
    if backend == "mariadb":
        pytest.skip("MariaDB commits each statement: see test_torn.py")
    first = make_project(tmp_path / "one", a=table("person"))
    first.at(catalog_url).upgrade()
    run(catalog_url, "INSERT INTO person VALUES (1, 'Ada')")
    before = contents(catalog_url)
    update = "op.execute(\"UPDATE person SET name = 'changed'\")"
    broken = make_project(
        tmp_path / "one", a=table("person"), b=table("pet"), c=f"{update}\nraise ValueError('boom')"
    )
    with pytest.raises(MigrationFailed, match="The database is as it was"):
        broken.at(catalog_url).upgrade()
    assert contents(catalog_url) == before


def test_nothing_of_ours_is_left_in_the_database(project: Project, catalog_url: URL) -> None:
    assert project.at(catalog_url).upgrade().after == ("b",)
    assert tables(catalog_url) == {"alembic_version", "person", "pet"}


def test_a_history_that_is_kept_stays_where_another_run_keeps_none(
    project: Project, catalog_url: URL
) -> None:
    project.at(catalog_url, history=True).upgrade("a")
    project.at(catalog_url).upgrade()
    assert "headway_history" in tables(catalog_url)
    assert project.at(catalog_url).repair().is_empty
    assert "headway_history" in tables(catalog_url)


def test_the_notes_of_a_run_that_was_killed_at_its_very_end_are_swept_up(
    project: Project, catalog_url: URL
) -> None:
    project.at(catalog_url).upgrade()
    engine = sa.create_engine(catalog_url)
    with engine.begin() as connection:
        history.ensure(connection)
        history.mark_passing(connection, by=Holder.myself("tests"))
    engine.dispose()
    assert project.at(catalog_url).status().position is Position.AT_HEAD
    assert project.at(catalog_url).plan_repair().clears
    assert project.at(catalog_url).upgrade().applied == ()
    assert tables(catalog_url) == {"alembic_version", "person", "pet"}


# --- looking --------------------------------------------------------------------------------------


def test_a_peek_tells_versions_tables_and_what_is_left_over(
    project: Project, catalog_url: URL
) -> None:
    database = project.at(catalog_url)
    assert database.status().position is Position.EMPTY
    run(catalog_url, "CREATE TABLE person (id INTEGER PRIMARY KEY)")
    assert database.status().position is Position.UNSTAMPED
    database.stamp("a")
    found = database.status()
    assert (found.position, found.current, found.pending) == (Position.BEHIND, ("a",), ("b",))


@servers_only
def test_a_server_that_is_not_there_is_said_in_words(project: Project, catalog_url: URL) -> None:
    gone = catalog_url.set(host="127.0.0.1", port=servers.free_port(), password="hunter2")
    with pytest.raises(DatabaseUnreachable, match="does not answer") as refused:
        project.at(gone).upgrade()
    assert "hunter2" not in str(refused.value)
    with pytest.raises(DatabaseUnreachable, match="does not answer"):
        dialect_of(gone).make(gone)
    found = project.at(gone).status()
    assert found.position is Position.UNREACHABLE
    assert "hunter2" not in str(found.reason)


@servers_only
def test_a_database_that_is_not_there_is_said_in_words(project: Project, catalog_url: URL) -> None:
    with pytest.raises(DatabaseUnreachable, match="never_made"):
        project.at(catalog_url.set(database="never_made")).upgrade()


def test_a_wrong_password_is_said_in_words_on_postgresql(project: Project) -> None:
    with servers.own_postgresql(password="right") as url:
        with pytest.raises(DatabaseDenied, match="the user or the password") as refused:
            project.at(url.set(password="hunter2")).upgrade()
        assert "hunter2" not in str(refused.value)
        with pytest.raises(DatabaseDenied, match="the user or the password"):
            project.at(url.set(username="nobody_here")).upgrade()


def test_an_unknown_user_is_said_in_words_on_postgresql(
    project: Project, postgresql_url: URL
) -> None:
    with pytest.raises(DatabaseDenied, match="nobody_here"):
        project.at(postgresql_url.set(username="nobody_here")).upgrade()


def test_a_wrong_password_is_said_in_words_on_mariadb(project: Project, mariadb_url: URL) -> None:
    stranger = mariadb_url.set(username="nobody_here", password="hunter2")
    with pytest.raises(DatabaseDenied, match="the user or the password") as refused:
        project.at(stranger).upgrade()
    assert "hunter2" not in str(refused.value)
    with pytest.raises(DatabaseDenied, match="the user or the password"):
        dialect_of(stranger).exists(stranger)


# --- TLS ------------------------------------------------------------------------------------------


def test_mariadb_is_spoken_to_with_tls_where_it_can(project: Project) -> None:
    program = shutil.which("mariadbd", path=servers.SYSTEM)
    if program is None:
        servers.missing("MariaDB", "apt-get install mariadb-server")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        Path(name).chmod(0o755)  # the server has an account of its own
        key, certificate = certified(Path(name))
        settings = (f"--ssl-key={key}", f"--ssl-cert={certificate}")
        server = stack.enter_context(servers.own_mariadb(program, *settings))
        url = stack.enter_context(database_on(server))
        project.at(url).upgrade()
        for _ in range(2):
            assert cipher_of(url)
        assert not cipher_of(url.update_query_dict({"ssl_disabled": "true"}))
        with pytest.raises(DatabaseUnreachable, match="certificate"):
            cipher_of(url.update_query_dict({"ssl_verify_cert": "true"}))
        named = url.update_query_dict({"ssl_ca": str(certificate), "ssl_check_hostname": "false"})
        assert cipher_of(named)


def cipher_of(url: URL) -> str:
    """What a connection of the migrator's is encrypted by; empty if it is not."""
    with Address.of(url).open() as raw:
        return str(ask(raw, "SHOW STATUS LIKE 'Ssl_cipher'")[0][1])


def certified(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate that only vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    files = folder / "key.pem", folder / "certificate.pem"
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    kind = serialization.PrivateFormat.TraditionalOpenSSL
    files[0].write_bytes(key.private_bytes(pem, kind, plain))
    files[1].write_bytes(made.sign(key, hashes.SHA256()).public_bytes(pem))
    for file in files:
        file.chmod(0o644)
    return files


# --- making, copying, dropping --------------------------------------------------------------------


@pytest.fixture
def unmade(catalog_url: URL) -> Iterator[URL]:
    """A name that no database has yet; gone afterwards."""
    url = catalog_url.set(database=f"{catalog_url.database}_copy")
    yield url
    dialect_of(url).drop(url)


def test_a_database_is_made_found_and_dropped(catalog_url: URL, unmade: URL) -> None:
    dialect = dialect_of(unmade)
    assert not dialect.exists(unmade)
    dialect.make(unmade)
    assert dialect.exists(unmade)
    with pytest.raises(DatabaseExists, match="already exists"):
        dialect.make(unmade)
    dialect.drop(unmade)
    assert not dialect.exists(unmade)


STANDING = {
    "sqlite": [
        "CREATE TRIGGER shout AFTER INSERT ON child BEGIN UPDATE parent SET n = n + 1; END",
    ],
    "postgresql": [
        "CREATE FUNCTION doubled(i integer) RETURNS integer LANGUAGE sql AS 'SELECT i * 2'",
        "CREATE FUNCTION shouted() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN UPDATE parent SET n = n + 1; RETURN NULL; END'",
        "CREATE TRIGGER shout AFTER INSERT ON child FOR EACH ROW EXECUTE FUNCTION shouted()",
    ],
    "mariadb": [
        "CREATE FUNCTION doubled(i INT) RETURNS INT DETERMINISTIC RETURN i * 2",
        "CREATE PROCEDURE clear_all() DELETE FROM child",
        "CREATE TRIGGER shout AFTER INSERT ON child FOR EACH ROW UPDATE parent SET n = n + 1",
        "CREATE VIEW above AS SELECT id, doubled(n) AS n FROM seen",
        "CREATE TABLE made (id INT PRIMARY KEY, twice INT AS (id * 2) STORED, "
        "note VARCHAR(20) DEFAULT '100%')",
        "INSERT INTO made (id) VALUES (4)",
        "CREATE SEQUENCE numbers START WITH 7",
    ],
}


def test_a_copy_has_rows_keys_views_triggers_and_routines(
    catalog_url: URL, unmade: URL, backend: str
) -> None:
    run(
        catalog_url,
        # The child's name comes first, and the table that it stands on later.
        "CREATE TABLE parent (id INTEGER PRIMARY KEY, n INTEGER)",
        "CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER, "
        "CONSTRAINT fk FOREIGN KEY (parent_id) REFERENCES parent (id))",
        "CREATE INDEX by_n ON parent (n)",
        "CREATE VIEW seen AS SELECT id, n FROM parent",
        "INSERT INTO parent VALUES (1, 10)",
        "INSERT INTO child VALUES (1, 1)",
        *STANDING[backend],
    )
    dialect_of(unmade).make(unmade, catalog_url)
    assert contents(unmade) == contents(catalog_url)
    run(unmade, "INSERT INTO child VALUES (2, 1)")
    assert rows(unmade, "SELECT n FROM seen") == [(11,)]
    assert rows(catalog_url, "SELECT n FROM seen") == [(10,)]
    if backend == "mariadb":
        assert rows(unmade, "SELECT n FROM above") == [(22,)]
        assert rows(unmade, "SELECT id, twice, note FROM made") == [(4, 8, "100%")]
        assert rows(unmade, "SELECT NEXTVAL(numbers)") == [(7,)]
        source = f"`{catalog_url.database}`"
        for kind in ("VIEW seen", "VIEW above", "TABLE child", "PROCEDURE clear_all"):
            assert source not in str(rows(unmade, f"SHOW CREATE {kind}"))
    if backend != "sqlite":
        assert rows(unmade, "SELECT doubled(21)") == [(42,)]
        with pytest.raises(sa.exc.IntegrityError):
            run(unmade, "INSERT INTO child VALUES (3, 99)")


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_template_that_others_use_is_refused_in_words(catalog_url: URL, unmade: URL) -> None:
    engine = sa.create_engine(catalog_url)
    with engine.connect(), pytest.raises(DatabaseInUse, match="while others are connected"):
        dialect_of(unmade).make(unmade, catalog_url)
    engine.dispose()


@pytest.mark.parametrize("backend", ["mariadb"], indirect=True)
def test_half_a_copy_is_no_database(catalog_url: URL, unmade: URL) -> None:
    run(
        catalog_url,
        "CREATE TABLE base (id INT PRIMARY KEY)",
        "CREATE VIEW broken AS SELECT id FROM base",
        "DROP TABLE base",
    )
    with pytest.raises(Exception, match=r"broken|base"):
        dialect_of(unmade).make(unmade, catalog_url)
    assert not dialect_of(unmade).exists(unmade)


# --- snapshots ------------------------------------------------------------------------------------


def test_a_snapshot_is_restored_where_there_are_snapshots(
    project: Project, catalog_url: URL, backend: str
) -> None:
    database = project.at(catalog_url, snapshot=True)
    database.upgrade("a")
    run(catalog_url, "INSERT INTO person VALUES (1, 'Ada')")
    before = contents(catalog_url)
    outcome = database.upgrade()
    if backend != "sqlite":
        assert outcome.snapshot is None
        assert database.snapshot() is None
        with pytest.raises(SnapshotNotFound, match="server's tools"):
            database.restore("anything")
        return
    assert outcome.snapshot
    assert contents(catalog_url) != before
    database.restore(outcome.snapshot)
    assert contents(catalog_url) == before


# --- the brakes -----------------------------------------------------------------------------------

LOCKING = {
    "sqlite": "BEGIN IMMEDIATE",
    "postgresql": "LOCK TABLE person IN ACCESS EXCLUSIVE MODE",
    "mariadb": "SELECT * FROM person FOR UPDATE",
}


@contextmanager
def using(url: URL, backend: str) -> Iterator[None]:
    """An application that holds what a revision will have to lock."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(LOCKING[backend])
        yield
        connection.rollback()


COLUMN = "op.add_column('person', sa.Column('age', sa.Integer))"
SLOW = {
    "sqlite": 'op.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) '
    'SELECT max(i) FROM n")',
    "postgresql": "op.execute('SELECT pg_sleep(20)')",
    "mariadb": "op.execute('SELECT SLEEP(20)')",
}


def test_an_application_that_does_not_let_go_is_not_made_to_wait(
    tmp_path: Path, catalog_url: URL, backend: str
) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b=COLUMN)
    database = project.at(catalog_url, lock_timeout=1, replay=False)
    database.upgrade("a")
    run(catalog_url, "INSERT INTO person VALUES (1, 'Ada')")
    before = contents(catalog_url)
    with using(catalog_url, backend):
        began = time.monotonic()
        with pytest.raises(DatabaseInUse, match="Try again when they are done"):
            database.upgrade()
        assert time.monotonic() - began < 10
    assert contents(catalog_url) == before
    assert database.upgrade().after == ("b",)


def test_a_statement_that_takes_too_long_is_ended(
    tmp_path: Path, catalog_url: URL, backend: str
) -> None:
    project = make_project(tmp_path / "one", a=table("person"), b=SLOW[backend])
    database = project.at(catalog_url, statement_timeout=0.5)
    database.upgrade("a")
    before = contents(catalog_url)
    with pytest.raises(DatabaseInUse, match="took longer than allowed"):
        database.upgrade()
    assert contents(catalog_url) == before


WORK = {
    "sqlite": 'op.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n '
    'WHERE i < 200000) SELECT max(i) FROM n")',
    "postgresql": "op.execute('SELECT pg_sleep(0.2)')",
    "mariadb": "op.execute('SELECT SLEEP(0.2)')",
}


def test_each_statement_has_its_own_time(tmp_path: Path, catalog_url: URL, backend: str) -> None:
    work = "\n".join([WORK[backend]] * 8)
    project = make_project(tmp_path / "one", a=work)
    began = time.monotonic()
    project.at(catalog_url).upgrade()
    longest = 4 * (time.monotonic() - began) / 8  # of one statement, on a busy machine
    project.at(catalog_url).stamp("base")
    assert project.at(catalog_url, statement_timeout=longest).upgrade().after == ("a",)


# --- engines and connections of the caller's ------------------------------------------------------

SETTINGS = {
    "sqlite": ("PRAGMA foreign_keys", "PRAGMA busy_timeout"),
    "postgresql": tuple(
        f"SHOW {name}"
        for name in (
            "lock_timeout",
            "statement_timeout",
            "application_name",
            "idle_in_transaction_session_timeout",
        )
    ),
    "mariadb": (
        "SELECT @@lock_wait_timeout, @@innodb_lock_wait_timeout, @@max_statement_time, "
        "@@autocommit, @@foreign_key_checks",
    ),
}
THEIRS = {
    "sqlite": ("PRAGMA busy_timeout=1234",),
    "postgresql": ("SET lock_timeout = '7s'", "SET application_name = 'theirs'"),
    "mariadb": ("SET SESSION lock_wait_timeout = 77", "SET SESSION max_statement_time = 66"),
}


@pytest.fixture
def engine(catalog_url: URL) -> Iterator[sa.Engine]:
    engine = sa.create_engine(catalog_url, pool_size=1, max_overflow=0)
    yield engine
    engine.dispose()


def settings(connection: sa.Connection, backend: str) -> list[Any]:
    found = [connection.exec_driver_sql(query).all() for query in SETTINGS[backend]]
    raw = connection.connection.dbapi_connection
    autocommit = getattr(raw, "isolation_level" if backend == "sqlite" else "autocommit", None)
    connection.rollback()
    return [*found, None if callable(autocommit) else autocommit]


def test_an_engine_is_given_back_as_it_was(
    project: Project, engine: sa.Engine, backend: str
) -> None:
    with engine.connect() as connection:
        for statement in THEIRS[backend]:
            connection.exec_driver_sql(statement)
        connection.commit()
        before = settings(connection, backend)
    database = project.at(engine, statement_timeout=20)
    assert database.status().position is Position.EMPTY
    assert database.upgrade().after == ("b",)
    with engine.connect() as connection:
        assert settings(connection, backend) == before
        assert connection.exec_driver_sql("SELECT count(*) FROM person").scalar() == 0


def test_a_connection_is_given_back_as_it_was(
    project: Project, engine: sa.Engine, backend: str
) -> None:
    with engine.connect() as connection:
        for statement in THEIRS[backend]:
            connection.exec_driver_sql(statement)
        connection.commit()
        before = settings(connection, backend)
        assert project.at(connection).upgrade().after == ("b",)
        assert not connection.in_transaction()
        assert settings(connection, backend) == before


def test_a_connection_is_given_back_after_a_failure_too(
    tmp_path: Path, engine: sa.Engine, backend: str
) -> None:
    broken = make_project(tmp_path / "broken", a="raise ValueError('boom')")
    with engine.connect() as connection:
        before = settings(connection, backend)
        with pytest.raises(MigrationFailed, match="boom"):
            broken.at(connection).upgrade()
        assert settings(connection, backend) == before


def test_an_engine_that_commits_each_statement_upgrades_all_or_nothing(
    tmp_path: Path, catalog_url: URL, backend: str
) -> None:
    if backend == "mariadb":
        pytest.skip("MariaDB commits each statement anyway")
    broken = make_project(tmp_path / "broken", a=table("person"), b="raise ValueError('boom')")
    engine = sa.create_engine(catalog_url, isolation_level="AUTOCOMMIT")
    with pytest.raises(MigrationFailed, match="The database is as it was"):
        broken.at(engine).upgrade()
    assert "person" not in tables(catalog_url)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (id INTEGER)")  # and no commit
    engine.dispose()
    assert "theirs" in tables(catalog_url)


def test_a_transaction_of_the_callers_takes_the_upgrade_with_it(
    project: Project, engine: sa.Engine, backend: str
) -> None:
    with engine.connect() as connection:
        transaction = connection.begin()
        database = project.at(connection)
        assert database.status().position is Position.EMPTY
        assert database.upgrade().after == ("b",)
        assert database.status().position is Position.AT_HEAD
        assert transaction.is_active
        transaction.rollback()
    with engine.connect() as connection:
        left = set(sa.inspect(connection).get_table_names())
    if backend != "mariadb":
        assert left == set()
    with engine.begin() as connection:
        if backend == "mariadb":  # whose statements were committed each, whatever the caller wants
            for name in left:
                connection.exec_driver_sql(f"DROP TABLE {name}")
        assert project.at(connection).upgrade().after == ("b",)
    assert project.at(engine).status().position is Position.AT_HEAD
    with engine.connect() as connection:
        left = set(sa.inspect(connection).get_table_names())
    assert left == {"alembic_version", "person", "pet"}


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
def test_a_failure_within_a_transaction_of_the_callers_leaves_the_rest_of_it(
    tmp_path: Path, engine: sa.Engine
) -> None:
    broken = make_project(tmp_path / "one", a=table("person"), b="raise ValueError('boom')")
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE theirs (id INTEGER)")
        connection.exec_driver_sql("INSERT INTO theirs VALUES (1)")
        with pytest.raises(MigrationFailed, match="boom"):
            broken.at(connection).upgrade()
        assert connection.exec_driver_sql("SELECT count(*) FROM theirs").scalar() == 1
    with engine.connect() as connection:
        left = set(sa.inspect(connection).get_table_names())
    assert left == {"theirs"}


@sqlite_only
def test_rows_are_counted_within_a_transaction_of_the_callers(
    tmp_path: Path, engine: sa.Engine, backend: str
) -> None:
    project = make_project(
        tmp_path / "one", a=table("person"), b="op.execute('DELETE FROM person')"
    )
    project.at(engine).upgrade("a")
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO person VALUES (1, 'Ada')")
    with engine.begin() as connection:
        with pytest.raises(RowsLost, match="1 of person"):
            project.at(connection).upgrade()
        assert connection.exec_driver_sql("SELECT count(*) FROM person").scalar() == 1


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
def test_a_step_that_commits_is_refused_within_a_transaction_of_the_callers(
    tmp_path: Path, engine: sa.Engine
) -> None:
    block = "with op.get_context().autocommit_block():\n    op.execute('SELECT 1')"
    project = make_project(tmp_path / "one", a=table("person"), b=block)
    with engine.begin() as connection:
        with pytest.raises(MigrationFailed, match="Give the URL or the engine"):
            project.at(connection).upgrade()
        assert sa.inspect(connection).get_table_names() == []


def test_a_database_in_memory_is_upgraded_through_its_engine(project: Project) -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    assert project.at(engine, snapshot=True).upgrade().after == ("b",)
    with engine.connect() as connection:
        assert project.at(connection).status().position is Position.AT_HEAD
    engine.dispose()


def test_a_step_that_commits_runs_in_memory_too(tmp_path: Path) -> None:
    block = "with op.get_context().autocommit_block():\n    op.execute('PRAGMA user_version=4')"
    project = make_project(tmp_path / "one", a=table("person"), b=block, c=table("pet"))
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    assert project.at(engine).upgrade().after == ("c",)
    with engine.connect() as connection:
        found = set(sa.inspect(connection).get_table_names())
    assert found == {"alembic_version", "person", "pet"}
    engine.dispose()


@sqlite_only
def test_what_sqlite_refuses_in_a_transaction_runs_in_a_block(
    tmp_path: Path, catalog_url: URL
) -> None:
    block = "with op.get_context().autocommit_block():\n    op.execute('VACUUM')"
    project = make_project(tmp_path / "one", a=table("person"), b=block, c=table("pet"))
    assert project.at(catalog_url).upgrade().after == ("c",)
    assert tables(catalog_url) == {"alembic_version", "person", "pet"}


# --- PostgreSQL: what cannot be in a transaction --------------------------------------------------

CONCURRENTLY = """with op.get_context().autocommit_block():
    op.create_index("by_name", "person", ["name"], postgresql_concurrently=True)"""


def test_an_index_is_made_concurrently_while_others_wait_for_our_lock(
    tmp_path: Path, postgresql_url: URL
) -> None:
    slow = f"{CONCURRENTLY}\n    op.execute('SELECT pg_sleep(1)')"
    project = make_project(tmp_path / "one", a=table("person"), b=slow, c=table("pet"))
    project.at(postgresql_url).upgrade("a")
    ends: list[object] = []

    def upgrade() -> None:
        try:
            ends.append(Project.load(project.location).at(postgresql_url, lock_wait=30).upgrade())
        except HeadwayError as error:
            ends.append(error)

    here = [sys.executable, "-c", UPGRADE, str(tmp_path / "one"), typed(postgresql_url)]
    racing = [subprocess.Popen(here, cwd=Path(__file__).parents[2]) for _ in range(3)]
    upgrade()
    assert [process.wait(60) for process in racing] == [0, 0, 0]
    assert [end for end in ends if isinstance(end, HeadwayError)] == []
    assert rows(
        postgresql_url, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_name'::regclass"
    ) == [(True,)]
    assert tables(postgresql_url) == {"alembic_version", "person", "pet"}


UPGRADE = """
import sys
from headway.project import Project
Project.load(sys.argv[1]).at(sys.argv[2], lock_wait=40).upgrade()
"""


def test_a_proxy_that_shares_sessions_is_noticed(project: Project, postgresql_url: URL) -> None:
    with pgbouncer(postgresql_url, "transaction") as proxy:
        with pytest.raises(PoolerInTheWay, match="a pool in session mode"):
            project.at(proxy).upgrade()
        found = project.at(proxy).status()
        assert found.position is Position.EMPTY
        assert "a pool in session mode" in str(found.reason)  # before anybody tries
    assert project.at(postgresql_url).status().reason is None


def test_a_proxy_in_session_mode_is_as_good_as_the_server(
    project: Project, postgresql_url: URL
) -> None:
    with pgbouncer(postgresql_url, "session") as proxy:
        assert project.at(proxy).upgrade().after == ("b",)
    assert project.at(postgresql_url).status().position is Position.AT_HEAD


def test_a_schema_on_mariadb_is_read_without_opening_the_databases_beside_it(
    mariadb_url: URL,
) -> None:
    engine = sa.create_engine(mariadb_url)
    with engine.connect() as connection:
        found = [
            *connection.exec_driver_sql(
                f"EXPLAIN EXTENDED {mysql_image.OBJECTS}", {"here": mariadb_url.database}
            ),
            *connection.exec_driver_sql(f"EXPLAIN EXTENDED {mysql_facts.TRIGGERS}"),
        ]
    engine.dispose()
    how = [str(row.Extra) for row in found]
    assert len([said for said in how if "Scanned 1 database" in said]) == 2
    assert not [said for said in how if "all databases" in said]


def test_two_threads_upgrade_two_databases_of_their_own(
    project: Project, fresh_url: Callable[[str], URL]
) -> None:
    urls = [fresh_url("sqlite") for _ in range(4)]
    threads = [threading.Thread(target=project.at(url).upgrade) for url in urls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [project.at(url).status().position for url in urls] == [Position.AT_HEAD] * 4
