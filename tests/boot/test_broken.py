"""Boots that cannot be: each with its own words, its exit code, and the catalog as before."""

import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests import servers
from tests.boot.conftest import execute, outcomes, refused, rows, state
from tests.conftest import environment_for, settings_for
from tests.live import ready
from tests.releases import BOOT, HEAD, Release, make_release

HALF = """op.create_table("zebra", sa.Column("id", sa.Integer, primary_key=True))
op.add_column("account", sa.Column("nick", sa.String(20)))
op.execute("UPDATE account SET name = 'changed'")
raise RuntimeError("boom")"""
MENDED = """op.create_table("zebra", sa.Column("id", sa.Integer, primary_key=True))
op.add_column("account", sa.Column("nick", sa.String(20)))"""
HOLD = """op.create_table("zebra", sa.Column("id", sa.Integer, primary_key=True))
open({flag!r}, "w").close()
time.sleep(60)"""


def wait_for(path: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)


def boots(release: Release, url: URL, **environment: str) -> str:
    done = release.boot(environment_for(url, **environment))
    assert done.returncode == 0, done.stderr
    return done.stderr


# --- the server -----------------------------------------------------------------------------------


@contextmanager
def forwarding(port: int, target: URL) -> Iterator[None]:
    """A port that leads to a server: how a server that comes up late looks from outside."""
    listener = socket.create_server(("127.0.0.1", port))
    ends: list[socket.socket] = []
    workers: list[threading.Thread] = []

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.create_connection((target.host, target.port))
            ends.extend((near, far))
            for pair in ((near, far), (far, near)):
                workers.append(threading.Thread(target=pump, args=pair, daemon=True))
                workers[-1].start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for worker in workers:
            worker.join(5)
        for end in ends:
            end.close()


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)
def test_a_server_that_comes_up_later_is_waited_for(release: Release, catalog_url: URL) -> None:
    port = servers.free_port()
    env = environment_for(catalog_url.set(host="127.0.0.1", port=port))
    with (release.path / "said").open("w+") as said:
        booting = release.start("python", "-c", BOOT, env=env, stderr=said)
        deadline = time.monotonic() + 90
        while "does not answer yet" not in Path(said.name).read_text():
            assert time.monotonic() < deadline
            assert booting.poll() is None
            time.sleep(0.1)
        with forwarding(port, catalog_url):
            booting.communicate(timeout=60)
        assert booting.returncode == 0, Path(said.name).read_text()


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)
def test_a_server_that_never_comes_up_is_given_up(release: Release, catalog_url: URL) -> None:
    gone = catalog_url.set(host="127.0.0.1", port=servers.free_port(), password="hunter2")
    said = refused(release, gone, 75, HEADWAY_BOOT_WAIT_SECONDS="1")
    assert "does not answer" in said
    assert "HEADWAY_BOOT_WAIT_SECONDS" in said
    assert "hunter2" not in said


def test_a_wrong_password_is_refused_at_once_on_postgresql(release: Release) -> None:
    with servers.own_postgresql(password="right") as url:
        began = time.monotonic()
        said = refused(release, url.set(password="hunter2"), 77)
        assert time.monotonic() - began < 10
        assert "refuses the user or the password" in said
        assert "hunter2" not in said
        boots(release, url)


def test_a_wrong_password_is_refused_at_once_on_mariadb(release: Release, mariadb_url: URL) -> None:
    said = refused(release, mariadb_url.set(username="nobody_here", password="hunter2"), 77)
    assert "refuses the user or the password" in said
    assert "hunter2" not in said


# --- the lock -------------------------------------------------------------------------------------


@pytest.fixture
def holding(release: Release, at_head: URL, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of a revision that never ends."""
    flag = tmp_path / "holding"
    release.add("c0115", HEAD, HOLD.format(flag=str(flag)))
    process = release.start("python", "-c", BOOT, env=environment_for(at_head))
    try:
        wait_for(flag)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_lock_that_never_comes_free_names_its_holder(
    release: Release, at_head: URL, holding: subprocess.Popen[str]
) -> None:
    said = refused(release, at_head, 75, HEADWAY_BOOT_LOCK_SECONDS="1")
    assert f"process {holding.pid} on {socket.gethostname()[:20]}" in said
    assert "release 0." in said
    assert "since 20" in said
    status = release.run("flask", "catalog", "status", env=environment_for(at_head))
    assert f"process {holding.pid}" in status.stdout


def test_a_killed_boot_leaves_nothing_that_stops_the_next(
    release: Release, at_head: URL, holding: subprocess.Popen[str], backend: str
) -> None:
    before = state(at_head) if backend != "mariadb" else None
    holding.kill()
    holding.wait()
    release.script("c0115").unlink()
    release.add("c0115", HEAD, MENDED)
    if backend == "mariadb":
        assert "c0115 began and never ended" in refused(release, at_head, 1)
        repair(release, at_head)
    else:
        assert "zebra" not in (before or {})
    boots(release, at_head)
    assert outcomes(at_head, "c0115")[-1] == "succeeded"
    assert rows(at_head, "SELECT name FROM account WHERE id = 100") == [("Ada",)]


def repair(release: Release, url: URL) -> None:
    env = environment_for(url)
    shown = release.run("flask", "catalog", "repair", "--dry-run", env=env)
    assert "DROP TABLE `zebra`" in shown.stdout
    done = release.run("flask", "catalog", "repair", "--yes", env=env)
    assert done.returncode == 0, done.stderr


# --- a revision -----------------------------------------------------------------------------------


def test_a_revision_that_fails_half_way(release: Release, at_head: URL, backend: str) -> None:
    before = state(at_head)
    script = release.add("c0115", HEAD, HALF)
    said = refused(release, at_head, 1)
    assert "Revision c0115 failed: boom." in said
    if backend == "mariadb":
        assert outcomes(at_head, "c0115") == ["torn"]
        assert "c0115 began and never ended" in refused(release, at_head, 1)
        status = release.run("flask", "catalog", "status", "--check", env=environment_for(at_head))
        assert status.returncode == 3
        assert "torn: c0115" in status.stdout
        repair(release, at_head)
    else:
        assert "The database is as it was." in said
        assert outcomes(at_head, "c0115") == ["failed"]
        assert rows(at_head, "SELECT name FROM account WHERE id = 100") == [("Ada",)]
    assert state(at_head) == before
    script.unlink()
    release.add("c0115", HEAD, MENDED)
    boots(release, at_head)
    assert outcomes(at_head, "c0115")[-1] == "succeeded"
    assert "zebra" in state(at_head)


def test_what_was_applied_and_what_is_left_is_said(
    release: Release, at_head: URL, backend: str
) -> None:
    release.add("c0115", HEAD, "pass")
    release.add("c0116", "c0115", "raise RuntimeError('boom')")
    release.add("c0117", "c0116", "pass")
    said = refused(release, at_head, 1)
    assert "Revision c0116 failed" in said
    assert "Not applied: c0117." in said
    if backend == "mariadb":
        assert "Applied before it: c0115." in said
        assert state(at_head)["versions"] == ["c0115"]
        assert outcomes(at_head, "c0116") == ["failed"], (
            "nothing had run: no reason to call it torn"
        )
    else:
        assert state(at_head)["versions"] == [HEAD]


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"], indirect=True)
def test_a_failing_first_boot_leaves_an_empty_database_empty(
    release: Release, catalog_url: URL
) -> None:
    release.add("c0115", HEAD, "raise RuntimeError('boom')")
    assert "Revision c0115 failed" in refused(release, catalog_url, 1)
    assert state(catalog_url) == {}


def test_two_heads_are_refused(release: Release, at_head: URL) -> None:
    release.add("c0115", HEAD, "pass")
    release.add("c0115b", HEAD, "pass")
    before = state(at_head)
    said = refused(release, at_head, 1)
    assert "2 heads: c0115, c0115b" in said
    assert "flask db merge" in said
    assert state(at_head) == before


def test_an_edited_revision_is_refused_until_it_is_accepted(release: Release, at_head: URL) -> None:
    script = release.script("c0007")
    script.write_text(script.read_text() + "\n# edited\n")
    before = state(at_head)
    assert "edited after it was applied: c0007" in refused(release, at_head, 1)
    assert state(at_head) == before
    env = environment_for(at_head)
    found = release.run("flask", "catalog", "validate", env=env)
    assert (found.returncode, found.stdout) == (
        3,
        "edited: c0007 was applied with another script\n",
    )
    assert release.run("flask", "catalog", "repair", "--yes", env=env).returncode == 0
    boots(release, at_head)


def test_a_checkout_with_other_line_ends_is_no_edit(release: Release, at_head: URL) -> None:
    script = release.script("c0007")
    script.write_bytes(script.read_bytes().replace(b"\n", b"\r\n"))
    boots(release, at_head)


def test_a_revision_inserted_below_is_refused(release: Release, at_head: URL) -> None:
    release.add("c0009b", "c0009", "pass")
    script = release.script("c0010")
    script.write_text(
        script.read_text().replace('down_revision = "c0009"', 'down_revision = "c0009b"')
    )
    said = refused(release, at_head, 1)
    assert "inserted below and never applied: c0009b" in said
    found = release.run("flask", "catalog", "validate", env=environment_for(at_head))
    assert "out of order: c0009b" in found.stdout


def test_a_missing_revision_is_found(release: Release, at_head: URL) -> None:
    execute(
        at_head,
        "INSERT INTO headway_history (revision, action, outcome, started_at) "
        "VALUES ('c0000', 'upgrade', 'succeeded', '2026-01-01 00:00:00')",
    )
    env = environment_for(at_head)
    found = release.run("flask", "catalog", "validate", env=env)
    assert (found.returncode, found.stdout) == (3, "missing: c0000 was applied and has no script\n")
    assert release.run("flask", "catalog", "repair", "--yes", env=env).returncode == 0
    assert release.run("flask", "catalog", "validate", env=env).returncode == 0


# --- another release, another program -------------------------------------------------------------


def test_a_newer_catalog_is_served_degraded_or_refused(
    release: Release, at_head: URL, tmp_path: Path
) -> None:
    newer = make_release(tmp_path / "newer")
    newer.add("c0115", HEAD, MENDED)
    boots(newer, at_head)
    before = state(at_head)
    assert "serving degraded" in boots(release, at_head)
    said = refused(release, at_head, 1, HEADWAY_ON_NEWER_CATALOG="refuse")
    assert "The catalog is at c0115, which a newer release brought" in said
    after = state(at_head)
    assert after.pop("boot")[2] == before.pop("boot")[2] + 1  # the refused one is none
    assert after == before
    assert rows(at_head, "SELECT revision_from, state FROM boot ORDER BY id")[-1] == (
        "c0115",
        "degraded",
    )


def test_another_programs_database_is_refused(release: Release, catalog_url: URL) -> None:
    execute(
        catalog_url,
        "CREATE TABLE theirs (id INTEGER PRIMARY KEY)",
        "CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)",
        "INSERT INTO alembic_version VALUES ('1975ea83b712')",
    )
    before = state(catalog_url)
    assert "another program's database" in refused(release, catalog_url, 1)
    assert state(catalog_url) == before


def test_a_catalog_made_by_create_all_is_adopted(release: Release, catalog_url: URL) -> None:
    made = "from app import create_app; from app.extensions import db\napp = create_app(migrate=False)\nwith app.app_context(): db.create_all()"
    assert release.run("python", "-c", made, env=environment_for(catalog_url)).returncode == 0
    before = state(catalog_url)
    boots(release, catalog_url)
    after = state(catalog_url)
    assert after.pop("versions") == [HEAD]
    after.pop("alembic_version")
    assert {t: v[:2] for t, v in after.items()} == {t: v[:2] for t, v in before.items()}
    assert rows(catalog_url, "SELECT revision, action FROM headway_history") == [(HEAD, "adopt")]


OLD = "CREATE TABLE account (id INTEGER NOT NULL {auto}, name VARCHAR(128) NOT NULL, description VARCHAR(200), created {time}, updated {time}, PRIMARY KEY (id))"


def old_catalog(url: URL) -> None:
    auto, moment = {
        "sqlite": ("", "DATETIME"),
        "postgresql": ("", "TIMESTAMP"),
        "mysql": ("AUTO_INCREMENT", "DATETIME"),
    }[url.get_backend_name()]
    old = OLD.replace("id INTEGER", "id SERIAL") if moment == "TIMESTAMP" else OLD
    execute(url, old.format(auto=auto, time=moment), "INSERT INTO account (name) VALUES ('Ada')")


def test_a_catalog_of_an_old_release_without_a_version_is_adopted_and_upgraded(
    release: Release, catalog_url: URL
) -> None:
    old_catalog(catalog_url)
    boots(release, catalog_url)
    history = rows(catalog_url, "SELECT revision, action FROM headway_history ORDER BY id")
    assert history[:2] == [("c0001", "adopt"), ("c0002", "upgrade")]
    assert rows(catalog_url, "SELECT name, role FROM account ORDER BY id")[0] == ("Ada", "viewer")


def test_tables_that_are_no_revisions_are_refused_by_name(
    release: Release, catalog_url: URL
) -> None:
    old_catalog(catalog_url)
    execute(catalog_url, "ALTER TABLE account ADD COLUMN nickname VARCHAR(10)")
    before = state(catalog_url)
    said = refused(release, catalog_url, 1)
    assert "closest to revision c0001, except: extra column account.nickname" in said
    assert state(catalog_url) == before


def test_a_catalog_behind_is_refused_where_migrating_is_off(
    release: Release, catalog_url: URL
) -> None:
    said = refused(release, catalog_url, 1, HEADWAY_MIGRATE_ON_BOOT="off")
    assert "HEADWAY_MIGRATE_ON_BOOT is off" in said
    assert state(catalog_url) == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEADWAY_BOOT_WAIT_SECONDS", "soon"),
        ("HEADWAY_ON_NEWER_CATALOG", "perhaps"),
        ("HEADWAY_MIGRATE_ON_BOOT", "2"),
        ("HEADWAY_DATABASE_URL", "oracle://me:hunter2@host/x"),
        ("HEADWAY_DATABASE_URL", "not a url hunter2"),
        ("HEADWAY_DATABASE_URL", "sqlite://"),
        ("HEADWAY_TRUSTED_PROXIES", "-1"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(
    release: Release, sqlite_url: URL, name: str, value: str
) -> None:
    said = refused(release, sqlite_url, 78, **{name: value})
    assert said.startswith(name)
    assert "hunter2" not in said
    assert "\n" not in said


def test_a_server_catalog_needs_a_secret_key(release: Release, postgresql_url: URL) -> None:
    said = refused(release, postgresql_url, 78, HEADWAY_SECRET_KEY="")
    assert said.startswith("HEADWAY_SECRET_KEY is not set")


def test_an_embedded_catalog_writes_its_own_key_for_its_owner_only(
    release: Release, sqlite_url: URL
) -> None:
    boots(release, sqlite_url, HEADWAY_SECRET_KEY="")
    file = Path(str(sqlite_url.database)).with_name("secret_key")
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(file.read_text()) == 64


# --- the disk -------------------------------------------------------------------------------------


def big(url: URL, megabytes: int) -> None:
    execute(url, "CREATE TABLE ballast (data BLOB)")
    for _ in range(megabytes):
        execute(url, "INSERT INTO ballast VALUES (zeroblob(1048576))")


@pytest.fixture
def behind(release: Release, booted: Callable[[str], URL]) -> URL:
    """A SQLite catalog with a revision to come, and some weight."""
    url = booted("sqlite")
    big(url, 8)
    release.add("c0115", HEAD, MENDED)
    return url


def test_a_full_disk_during_the_snapshot(release: Release, behind: URL) -> None:
    before = state(behind)
    env = environment_for(behind)
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4000000, -1)); import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); import runpy; runpy.run_module('app.processes.boot', run_name='__main__')"
    process = release.start("python", "-c", limited, env=env, stdin=subprocess.PIPE)
    process.wait(30)
    said = process.stderr.read() if process.stderr else ""
    process.communicate()
    assert process.returncode == 1, said
    assert "No snapshot of" in said
    assert "nothing was changed" in said
    assert state(behind) == before
    assert not list(Path(str(behind.database)).parent.glob("*.snapshot*"))
    boots(release, behind)


def test_a_snapshot_is_a_whole_copy_from_before(release: Release, behind: URL) -> None:
    boots(release, behind)
    (snapshot,) = Path(str(behind.database)).parent.glob("*.snapshot")
    copy = behind.set(database=str(snapshot))
    assert state(copy)["versions"] == [HEAD]
    assert rows(copy, "SELECT count(*) FROM ballast") == [(8,)]


def test_only_the_newest_snapshots_are_kept(release: Release, behind: URL) -> None:
    release.script("c0115").unlink()
    for number in range(115, 119):
        release.add(f"c0{number}", f"c0{number - 1}" if number > 115 else HEAD, "pass")
        boots(release, behind)
    kept = sorted(
        p.name.split(".")[-2] for p in Path(str(behind.database)).parent.glob("*.snapshot")
    )
    assert kept == ["c0115", "c0116", "c0117"]


def test_a_boot_killed_during_the_snapshot_leaves_nothing_in_the_way(
    release: Release, behind: URL
) -> None:
    big_url = behind
    for _ in range(8):
        execute(big_url, "INSERT INTO ballast SELECT * FROM ballast LIMIT 24")
    folder = Path(str(behind.database)).parent
    process = release.start("python", "-c", BOOT, env=environment_for(behind))
    deadline = time.monotonic() + 20
    while not list(folder.glob("*.partial*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.communicate()
    assert state(behind)["versions"] == [HEAD]
    boots(release, behind)
    assert state(behind)["versions"] == ["c0115"]
    assert not list(folder.glob("*.partial*"))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A file system that cannot be written, with what is put there before it is sealed."""
    if os.getuid() != 0 or not shutil.which("mount"):
        pytest.skip("mounting needs root: run as root, or in a container that may mount")
    folder = tmp_path / "sealed"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True)
    if done.returncode:
        pytest.skip("this machine lets nobody mount a tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def seal(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def test_a_read_only_file_system_without_a_catalog(release: Release, read_only: Path) -> None:
    seal(read_only)
    url = URL.create("sqlite", database=str(read_only / "new" / "catalog.sqlite"))
    said = refused(release, url, 78)
    assert "cannot be created" in said
    assert "HEADWAY_DATABASE_URL" in said
    bare = refused(release, url.set(database=str(read_only / "catalog.sqlite")), 78)
    assert "cannot be" in bare


def test_a_read_only_file_system_with_a_catalog_that_is_behind(
    release: Release, read_only: Path
) -> None:
    url = URL.create("sqlite", database=str(read_only / "catalog.sqlite"))
    boots(release, url)
    release.add("c0115", HEAD, MENDED)
    file = read_only / "catalog.sqlite"
    before = file.read_bytes()
    seal(read_only)
    assert "cannot be" in refused(release, url, 78)
    assert file.read_bytes() == before


# --- who is killed --------------------------------------------------------------------------------


def listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_with_the_master_the_boot_ends_and_the_port_is_free(
    release: Release, at_head: URL, tmp_path: Path, backend: str
) -> None:
    flag, port = tmp_path / "running", servers.free_port()
    release.add("c0115", HEAD, HOLD.format(flag=str(flag)))
    master = release.start("gunicorn", "wsgi:app", env=environment_for(at_head, PORT=str(port)))
    wait_for(flag)
    assert listening(port)
    master.kill()
    master.communicate()
    deadline = time.monotonic() + 5
    while listening(port):
        assert time.monotonic() < deadline
    release.script("c0115").unlink()
    release.add("c0115", HEAD, MENDED)
    if backend == "mariadb":
        repair(release, at_head)
    boots(release, at_head, HEADWAY_BOOT_LOCK_SECONDS="10")


def test_a_worker_that_is_still_loading_ends_with_its_master(
    release: Release, booted: Callable[[str], URL], tmp_path: Path
) -> None:
    url = booted("postgresql")
    flag, port = tmp_path / "running", servers.free_port()
    env = environment_for(url, PORT=str(port), WEB_CONCURRENCY="1")
    master = release.start("gunicorn", "wsgi:app", env=env)
    deadline = time.monotonic() + 60
    while not ready(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    release.add("c0115", HEAD, HOLD.format(flag=str(flag)))
    master.send_signal(signal.SIGHUP)  # a reload: the new worker is the one that migrates
    wait_for(flag)
    master.kill()
    master.communicate()
    deadline = time.monotonic() + 8
    while listening(port):
        assert time.monotonic() < deadline, "an orphan holds the port"
        time.sleep(0.1)


def test_a_signal_to_stop_ends_a_boot_in_time(
    release: Release, at_head: URL, tmp_path: Path, backend: str
) -> None:
    flag, port = tmp_path / "running", servers.free_port()
    release.add("c0115", HEAD, HOLD.format(flag=str(flag)))
    env = environment_for(at_head, PORT=str(port), HEADWAY_LOG_FORMAT="json")
    master = release.start("gunicorn", "wsgi:app", env=env)
    wait_for(flag)
    began = time.monotonic()
    master.terminate()
    _, said = master.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert master.returncode == 0, said
    lines = said.splitlines()
    events = [json.loads(line)["event"] for line in lines if line.startswith("{")]
    assert any("told to stop" in event for event in events), "gunicorn's own lines are JSON too"
    assert not any(line.startswith("[") for line in lines), said
    assert outcomes(at_head, "c0115") == (["torn"] if backend == "mariadb" else ["failed"])
    if backend != "mariadb":
        assert "zebra" not in state(at_head)


def test_the_master_ends_with_the_code_of_the_refusal(release: Release, at_head: URL) -> None:
    release.add("c0115", HEAD, "raise RuntimeError('boom')")
    master = release.start(
        "gunicorn", "wsgi:app", env=environment_for(at_head, PORT=str(servers.free_port()))
    )
    _, said = master.communicate(timeout=30)
    assert master.returncode == 1
    assert "Error: Revision c0115 failed: boom." in said
    assert "Booting worker" not in said


def test_flask_run_ends_with_the_code_of_the_refusal(release: Release, sqlite_url: URL) -> None:
    env = environment_for(sqlite_url, HEADWAY_BOOT_WAIT_SECONDS="soon")
    done = release.run("flask", "run", "-p", str(servers.free_port()), env=env)
    assert done.returncode == 78
    assert done.stderr.startswith("Error: HEADWAY_BOOT_WAIT_SECONDS")


def test_a_server_that_goes_on_without_its_client_is_waited_for(
    release: Release, booted: Callable[[str], URL], tmp_path: Path
) -> None:
    url = booted("postgresql")
    flag = tmp_path / "running"
    release.add(
        "c0115", HEAD, f"open({str(flag)!r}, 'w').close()\nop.execute('SELECT pg_sleep(6)')"
    )
    first = release.start("python", "-c", BOOT, env=environment_for(url))
    wait_for(flag)
    time.sleep(0.5)
    first.kill()
    first.communicate()
    release.script("c0115").unlink()
    release.add("c0115", HEAD, MENDED)
    began = time.monotonic()
    env = environment_for(url)
    second = release.run("python", "-c", BOOT, env=env)
    assert second.returncode == 0, second.stderr
    assert time.monotonic() - began > 3
    assert f"is being migrated by process {first.pid}" in second.stderr
    assert outcomes(url, "c0115") == ["succeeded"]


def test_the_password_of_a_catalog_is_in_no_process_list(
    release: Release, at_head: URL, holding: subprocess.Popen[str]
) -> None:
    import psutil

    own = psutil.Process(holding.pid)
    assert "not a secret" not in " ".join(own.cmdline())
    assert str(settings_for(at_head).database_url) not in " ".join(own.cmdline())
