"""A project's code runs in a process that knows no catalog, and whose end is survived."""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet import databases, projects, rollouts
from app.fleet.addresses import urls
from app.fleet.core.selectors import Selector
from app.fleet.core.transactions import writing
from app.fleet.isolation import parent
from app.fleet.refresh import refresh
from app.models import Project, Run, Stage
from headway import Project as Scripts
from headway.connections.address import Address
from headway.errors import DatabaseMissing, DatabaseMoved, ProcessEnded
from headway.plan.plans import Direction
from headway.types import Status
from tests.fleet.fleets import ROOT, Fleet, fleet_on, fresh, move
from tests.fleet.sites import Site, family, is_running, kill, site_on
from tests.migrator.scripts import write_revision

SECRETS = {
    "HEADWAY_SECRET_KEY": "a-secret-of-this-test-of-32-bytes",
    "HEADWAY_ENCRYPTION_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "HEADWAY_BROKER_URL": "redis://:secret-of-the-broker@127.0.0.1:1/0",
    "HEADWAY_OIDC_CLIENT_SECRET": "secret-of-the-provider",
}
NOTES = """
import gc, json, os, sys
fds = {}
for fd in os.listdir("/proc/self/fd"):
    try:
        fds[fd] = os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        pass
import sqlalchemy
engines = [str(o.url) for o in gc.get_objects() if isinstance(o, sqlalchemy.Engine)]
ours = [n for n in sys.modules if n in ("app.extensions", "app.models", "app.settings", "flask")]
with open(%r, "w") as out:
    json.dump({"environ": dict(os.environ), "fds": fds, "engines": engines, "modules": ours,
               "pid": os.getpid()}, out)
"""
NONE = None
CAPTURED = """
from alembic import context
from sqlalchemy import create_engine
engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
EXECUTED = """
from alembic import context
from sqlalchemy import create_engine, text
engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    connection.execute(text("SELECT 1"))
    connection.rollback()
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


@pytest.fixture
def slow(template_copy: URL, tmp_path: Path) -> Iterator[Site]:
    with site_on(template_copy, tmp_path, seconds=1.5) as made:
        yield made


@pytest.mark.parametrize("catalog", ["sqlite", "postgresql"])
@pytest.mark.parametrize("env", [NONE, CAPTURED, EXECUTED], ids=["none", "captured", "executed"])
def test_a_rollout_of_each_mode_of_env_py(
    migrated: Callable[[str], URL],
    fresh_url: Callable[[str], URL],
    tmp_path: Path,
    env: str | None,
    catalog: str,
) -> None:
    url = fresh_url("postgresql")
    with fleet_on(migrated(catalog), tmp_path) as fleet:
        file = fleet.scripts / "env.py"
        file.unlink() if env is None else file.write_text(env)
        fleet.load()
        project = db.session.get_one(Project, fleet.project_id)
        modes = {NONE: "none", CAPTURED: "captured", EXECUTED: "executed"}
        assert project.environment_facts["mode"] == modes[env]
        member = fleet.add("a")
        Scripts.load(fleet.scripts).at(url).upgrade("r001")
        fleet.register("b", url)
        rollout = fleet.start()
        fleet.drain()
        assert fleet.stage(rollout) is Stage.SUCCEEDED
        assert {run.attempt for run in fleet.runs_of(rollout)} == {1}
        assert fleet.at(member) == "r003"
        assert Scripts.load(fleet.scripts).at(url).status().current == ("r003",)


def test_the_process_of_a_projects_code_has_nothing_of_the_catalog(
    migrated: Callable[[str], URL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = migrated("sqlite")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", catalog.render_as_string(hide_password=False))
    monkeypatch.setenv("SETTING_OF_THE_SHOP", "kept")
    parent.end()
    time.sleep(0.2)
    with fleet_on(catalog, tmp_path, secret_key=SECRETS["HEADWAY_SECRET_KEY"]) as fleet:
        monkeypatch.setenv("COPY_OF_THE_KEY", SECRETS["HEADWAY_SECRET_KEY"])
        note = tmp_path / "note.json"
        write_revision(fleet.scripts, "r004", "r003", [f"exec({NOTES % str(note)!r}, {{}})"])
        fleet.load()
        member = fleet.add("a")
        fleet.start()
        fleet.drain()
        assert fleet.at(member) == "r004"
    found = json.loads(note.read_text())
    text = json.dumps(found)
    assert found["environ"]["SETTING_OF_THE_SHOP"] == "kept"
    assert not [name for name in found["environ"] if name.startswith("HEADWAY_")]
    assert not [value for value in SECRETS.values() if value in text]
    assert str(catalog.database) not in text, "neither its file nor its address"
    assert found["modules"] == []
    assert found["pid"] != os.getpid()
    parent.end()  # the next test has other settings


LOOKING = """
import json, os
from alembic import context
from pathlib import Path
found = {}
for file in Path("/proc/self").glob("[ec][nm][vd]*"):
    found[file.name] = file.read_text()
for file in Path("/proc/self/fd").iterdir():
    try:
        found[str(file)] = os.readlink(file)
    except OSError:
        pass
found["environ"] += str(dict(os.environ))
found["umask"] = oct(os.umask(0o077))
with open(%r, "a") as out:
    out.write(json.dumps(found) + "\\n")
"""


def test_env_py_finds_no_secret_in_either_process_that_runs_it(
    migrated: Callable[[str], URL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In that of migrations and in that of probes. What the same user may read: docs/security.md."""
    catalog = migrated("sqlite")
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", catalog.render_as_string(hide_password=False))
    parent.end()
    time.sleep(0.2)
    with fleet_on(catalog, tmp_path, secret_key=SECRETS["HEADWAY_SECRET_KEY"]) as fleet:
        note, file = tmp_path / "notes", fleet.file("a")
        fleet.scripts.joinpath("env.py").write_text(LOOKING % str(note) + CAPTURED)
        fleet.load()
        projects.scripts_of(db.session.get_one(Project, fleet.project_id)).environment_uses(
            ("sqlite",), {}
        )
        databases.register_database(
            ROOT,
            {"project_id": fleet.project_id, "name": "a", "url": f"sqlite:///{file}"},
        )
        assert refresh.refresh(fleet.project_id) == 1
        processes = {parent._child.process, parent._prober.process}
        assert None not in processes
    lines = note.read_text().splitlines()
    assert len(lines) >= 2
    for line in lines:
        found = json.loads(line)
        assert not [value for value in SECRETS.values() if value in line]
        assert "HEADWAY_" not in found["environ"]
        assert str(catalog.database) not in line
        assert found["umask"] == "0o77"
    parent.end()  # the next test has other settings


def test_what_is_made_is_its_owners(fresh_url: Callable[[str], URL], tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        catalog = tmp_path / "catalog" / "catalog.sqlite"
        with fleet_on(sa.make_url(f"sqlite:///{catalog}"), tmp_path) as fleet:
            url = f"sqlite:///{tmp_path}/new.db"
            values = {"project_id": fleet.project_id, "name": "new", "url": url}
            databases.create_database(ROOT, values)
            fleet.drain()
            made = [tmp_path / "new.db", *catalog.parent.iterdir()]
            assert catalog in made
            assert {oct(file.stat().st_mode & 0o777) for file in made} == {"0o600"}
    finally:
        os.umask(before)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("os._exit(1)", "exit code 1"),
        ("os.kill(os.getpid(), 9)", "signal 9, SIGKILL: killed, perhaps because memory ran out"),
    ],
)
def test_a_revision_that_ends_its_process_fails_its_own_run(
    fleet: Fleet, line: str, words: str
) -> None:
    bad, good = fleet.add("bad"), fleet.add("good")
    asks = 'file = op.get_bind().exec_driver_sql("PRAGMA database_list").first()[2]'
    body = f'if file.endswith("bad.db"): {line}'
    write_revision(fleet.scripts, "r004", "r003", ["import os", asks, body])
    fleet.load()
    rollout = fleet.start(gate={"failures": 5})
    fleet.drain()
    runs = {run.database_id: run for run in fleet.runs_of(rollout)}
    assert (runs[good.id].state, fleet.at(good)) == ("succeeded", "r004")
    assert (runs[bad.id].state, runs[bad.id].problem) == ("failed", "process-ended")
    assert words in (runs[bad.id].error or "")
    assert fleet.at(bad) == "r001", "all of it was taken back"


def test_what_a_callback_raises_stops_the_run_before_its_first_step(fleet: Fleet) -> None:
    member = fleet.add("a")
    scripts = projects.scripts_of(db.session.get_one(Project, fleet.project_id))

    def refuse(_: Status) -> str:
        raise DatabaseMoved("Given to another.", database=member.id)

    with pytest.raises(DatabaseMoved, match="Given to another") as raised:
        scripts.at(urls.url_of(member)).move(Direction.UPGRADE, on_found=refuse)
    assert raised.value.context == {"database": member.id}
    assert fleet.at(member) == "r001"


def test_a_child_that_was_ended_is_started_again(fleet: Fleet) -> None:
    scripts = projects.scripts_of(db.session.get_one(Project, fleet.project_id))
    at = scripts.at(f"sqlite:///{fleet.file('a')}")
    assert at.status().current == ("r001",)
    parent.end()
    assert at.status().current == ("r001",), "who only looks asks once more"
    parent.end()
    try:
        move(at)
    except ProcessEnded:  # it had not been seen yet that it ended
        move(at)
    assert at.status().current == ("r003",)


def test_a_killed_worker_takes_the_process_of_its_project_along(slow: Site) -> None:
    slow.supervise(1)
    first = slow.until_alive(1)[0]
    rollout = slow.begin(1)
    slow.until_running(rollout)
    slow.until(lambda: family(first.pid))
    below = [one.pid for one in family(first.pid)]
    assert below
    kill(first.pid)
    killed = time.monotonic()
    while any(is_running(pid) for pid in below):
        assert time.monotonic() - killed < 5
        time.sleep(0.02)
    slow.until_ended(rollout)
    assert slow.found() == {"r002+r003": 1}


def test_a_database_that_lost_its_contents_is_not_made_anew(fleet: Fleet) -> None:
    member = fleet.add("a")
    rollout = fleet.start()
    fleet.file("a", at=None).write_bytes(b"")
    fleet.drain()
    (run,) = fleet.runs_of(rollout)
    assert (run.state, run.problem) == ("failed", "database-moved")
    assert "was at r001 when this was planned, and is empty now" in (run.error or "")
    assert fleet.at(member) == ""
    assert fleet.file("a", at=None).stat().st_size == 0


def test_one_that_went_back_or_elsewhere_is_refused_and_one_that_went_on_is_not(
    fleet: Fleet,
) -> None:
    members = {name: fleet.add(name, at="r002") for name in ("back", "other", "on")}
    rollout = fleet.start(gate={"failures": 5})
    files = {name: fleet.file(name, at=None) for name in members}
    own = Scripts.load(fleet.scripts)
    own.at(files["back"]).downgrade("r001")
    own.at(files["on"]).upgrade("r003")
    with sa.create_engine(f"sqlite:///{files['other']}", poolclass=sa.NullPool).begin() as other:
        other.exec_driver_sql("UPDATE alembic_version SET version_num = 'zzz'")
    fleet.drain()
    runs = {run.database_id: run for run in fleet.runs_of(rollout)}
    assert runs[members["back"].id].problem == "database-moved"
    assert runs[members["other"].id].state == "failed"
    assert runs[members["on"].id].state == "succeeded"
    assert fleet.at(members["back"]) == "r001"


def lost(fleet: Fleet, name: str) -> None:
    """Its contents are gone, and a refresh has noted that before anybody was told."""
    fleet.file(name, at=None).write_bytes(b"")
    refresh.refresh(fleet.project_id)
    fresh()


def test_a_refresh_since_the_start_does_not_make_a_lost_database_a_new_one(fleet: Fleet) -> None:
    member = fleet.add("a")
    rollout = fleet.start()
    lost(fleet, "a")
    assert databases.get_database(ROOT, member.id).position == "empty"
    fleet.drain()
    (run,) = fleet.runs_of(rollout)
    assert (run.state, run.problem) == ("failed", "database-moved")
    assert "was at r001 when this was planned, and is empty now" in (run.error or "")
    assert fleet.file("a", at=None).stat().st_size == 0
    rollouts.retry_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.at(member) == "r003", "whoever tries it again has been told"


def test_a_retry_of_what_failed_goes_on_from_where_that_left_the_database(fleet: Fleet) -> None:
    member = fleet.add("a")
    write_revision(fleet.scripts, "r004", "r003", ["raise RuntimeError('not yet')"])
    fleet.load()
    rollout = fleet.start(retreat=False)
    fleet.drain()
    assert [run.problem for run in fleet.runs_of(rollout)] == ["migration-failed"]
    lost(fleet, "a")
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    assert [run.problem for run in fleet.runs_of(rollout)] == ["database-moved"]
    assert fleet.at(member) == ""


def test_one_that_was_away_at_first_is_still_expected_where_it_was_planned(fleet: Fleet) -> None:
    member = fleet.add("a")
    path = fleet.file("a", at=None)
    whole = path.read_bytes()
    rollout = fleet.start(timeout_seconds=0.3)
    with Scripts.load(fleet.scripts).at(path).operations():
        fleet.work()
    assert [run.state for run in fleet.runs_of(rollout)] == ["pending"]
    lost(fleet, "a")
    with writing() as session:
        session.execute(sa.update(Run).values(retry_at=None))
    fleet.drain()
    assert [run.problem for run in fleet.runs_of(rollout)] == ["database-moved"]
    path.write_bytes(whole)
    rollouts.retry_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.at(member) == "r003"


COOKBOOK = """
from alembic import context
from sqlalchemy import create_engine, text
tenant = context.get_x_argument(as_dictionary=True).get("tenant")
engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    connection.execute(text(f'set search_path to "{tenant}"'))
    connection.commit()
    connection.dialect.default_schema_name = tenant
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def test_a_schema_of_the_url_that_env_py_does_not_mean_is_refused(
    fleet: Fleet, fresh_url: Callable[[str], URL]
) -> None:
    url = fresh_url("postgresql")
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA t00")
        connection.exec_driver_sql("CREATE SCHEMA t01")
    (fleet.scripts / "env.py").write_text(COOKBOOK)
    projects.change_project(ROOT, fleet.project_id, {"x": {"tenant": "t00"}}, version=None)
    fleet.load()

    def tenant(schema: str) -> URL:
        return url.update_query_dict({"options": f"-csearch_path={schema}"})

    scripts = projects.scripts_of(db.session.get_one(Project, fleet.project_id))
    assert move(scripts.at(tenant("t00"), {"tenant": "t00"}), "r001").after == ("r001",)
    for name in ("t00", "t01"):
        text = tenant(name).render_as_string(hide_password=False)
        asked = {"project_id": fleet.project_id, "name": name, "url": text}
        databases.register_database(ROOT, asked)
    assert refresh.refresh(fleet.project_id) == 2
    fresh()
    found, _ = databases.list_databases(ROOT, Selector(), limit=9)
    seen = {one.name: one for one in found}
    assert (seen["t00"].position, seen["t00"].current) == ("behind", "r001")
    assert seen["t01"].position == "unreachable"
    assert "env.py sets search_path to t00 while the URL" in (seen["t01"].reason or "")
    rollout = fleet.start(gate={"failures": 5})
    fleet.drain()
    runs = {run.database_id: run for run in fleet.runs_of(rollout)}
    assert runs[seen["t00"].id].state == "succeeded"
    assert runs[seen["t01"].id].problem == "environment-failed"
    with engine.connect() as connection:
        assert sa.inspect(connection).get_table_names(schema="t01") == []


def test_a_schema_that_is_not_there_is_no_empty_one(
    fleet: Fleet, fresh_url: Callable[[str], URL]
) -> None:
    url = fresh_url("postgresql").update_query_dict({"options": "-csearch_path=t09"})
    member = Scripts.load(fleet.scripts).at(url)
    with pytest.raises(DatabaseMissing, match="There is no schema t09"):
        member.status()
    with pytest.raises(DatabaseMissing, match="There is no schema t09"):
        member.upgrade()


def test_a_disk_that_is_full_is_told_as_such(fleet: Fleet) -> None:
    member = fleet.add("a")
    limits = 'op.execute("PRAGMA max_page_count = 1")'
    fills = 'op.execute("CREATE TABLE big AS SELECT zeroblob(500000) AS x")'
    write_revision(fleet.scripts, "r004", "r003", [limits, fills])
    fleet.load()
    rollout = fleet.start()
    fleet.drain()
    (run,) = fleet.runs_of(rollout)
    assert (run.state, run.problem) == ("failed", "disk-full")
    assert fleet.at(member) == "r001"


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_connection_asks_whether_the_server_is_there(
    kind: str, fresh_url: Callable[[str], URL]
) -> None:
    with Address.of(fresh_url(kind)).open() as raw:
        handle = raw.fileno() if hasattr(raw, "fileno") else raw._sock.fileno()
        with socket.socket(fileno=os.dup(handle)) as line:
            assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
