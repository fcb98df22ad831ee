"""Chaos: a rollout goes on while everything that carries it is killed, again and again."""

import contextlib
import random
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError

from app.extensions import db
from app.fleet import databases
from app.fleet.refresh import refresh
from app.models import Database, Rollout, Run, Stage, State
from headway import Project as Scripts
from headway.dialects.urls import DatabaseURL
from headway.errors import HeadwayError
from tests import servers
from tests.conftest import boot
from tests.fleet.fleets import ROOT, require_right_counts
from tests.fleet.sites import Site, site_on, those_below

Say = Callable[[str], None]
AFTER = "r003"
SHARED = "tenants"
"""The database whose schemas are members."""
RAN = ["r002", "r003"]


@dataclass
class Chaos:
    """The processes of a site that may be killed, and how each comes back."""

    site: Site
    postgresql: servers.KillablePostgresql | None
    dice: random.Random
    web: "subprocess.Popen[bytes]" = field(init=False)
    port: str = field(init=False)
    celery: "subprocess.Popen[bytes] | None" = None
    redis: "subprocess.Popen[bytes] | None" = None
    redis_port: int = 0

    def __post_init__(self) -> None:
        self.port = str(servers.free_port())
        self._serve()
        if self.postgresql:
            self.redis_port = servers.free_port()
            self.redis = servers.own_redis(self.redis_port)
            self._work()

    @property
    def victims(self) -> dict[str, Callable[[], None]]:
        """What can be killed, by name."""
        embedded = {"embedded worker": self.kill_embedded, "web server": self.kill_web}
        if not self.postgresql:
            return embedded
        return embedded | {
            "Celery child": self.kill_child,
            "Celery worker": self.kill_celery,
            "broker": self.kill_redis,
            "PostgreSQL": self.kill_postgresql,
        }

    def kill_embedded(self) -> None:
        """The supervisor starts another."""
        if found := those_below(self.web.pid, "app.processes.worker"):
            self._kill(self.dice.choice(found))

    def kill_web(self) -> None:
        """The master, with no word to its children; somebody starts it again."""
        self.web.kill()
        self.web.wait()
        self._pause()
        self._serve()

    def kill_child(self) -> None:
        """Celery starts another."""
        assert self.celery
        if found := psutil.Process(self.celery.pid).children():
            self._kill(self.dice.choice(found))

    def kill_celery(self) -> None:
        """Its main process; somebody starts it again."""
        assert self.celery
        self.celery.kill()
        self.celery.wait()
        self._pause()
        self._work()

    def kill_redis(self) -> None:
        """Everything that was on its way is gone."""
        assert self.redis
        self.redis.kill()
        self.redis.wait()
        self._pause()
        self.redis = servers.own_redis(self.redis_port)

    def kill_postgresql(self) -> None:
        """The catalog, and a part of the fleet."""
        assert self.postgresql
        self.postgresql.kill()
        self._pause()
        self.postgresql.start()

    def end(self) -> None:
        """Nothing is left."""
        if self.redis:
            self.redis.kill()
            self.redis.wait()

    def _serve(self) -> None:
        more = {"PORT": self.port, "WEB_CONCURRENCY": "1", "HEADWAY_WORKERS": "2"}
        self.web = self.site.start("gunicorn", "wsgi:app", **more)

    def _work(self) -> None:
        self.celery = self.site.celery(f"redis://127.0.0.1:{self.redis_port}/0", 2)

    def _pause(self) -> None:
        time.sleep(self.dice.uniform(0.1, 2.0))

    @staticmethod
    def _kill(process: psutil.Process) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


@contextlib.contextmanager
def chaos(
    folder: Path,
    *,
    catalog: str,
    files: int,
    seconds: float,
    members: int = 0,
    tenants: int = 0,
    seed: int = 0,
) -> Iterator[tuple[Chaos, Rollout]]:
    """A rollout over so many files, PostgreSQL databases and tenants of one, begun, and its site."""
    with contextlib.ExitStack() as stack:
        postgresql = None
        url = URL.create("sqlite", database=str(folder / "catalog.sqlite"))
        if catalog == "postgresql":
            # A folder of its own: the server is another user's where root runs this.
            place = stack.enter_context(tempfile.TemporaryDirectory())
            postgresql = servers.KillablePostgresql(Path(place))
            postgresql.start()
            stack.callback(postgresql.stop)
            _run(postgresql.url, "CREATE DATABASE catalog")
            url = postgresql.url.set(database="catalog")
        boot(url)
        site = stack.enter_context(site_on(url, folder, seconds=seconds))
        _register(site, files, postgresql.url if postgresql else None, members, tenants)
        made = Chaos(site, postgresql, random.Random(seed))
        stack.callback(made.end)
        site.until(lambda: len(site.alive()) == (4 if postgresql else 2))
        rollout = site.fleet.start(
            waves=["5", "100%"], concurrency=8, per_server=4, timeout_seconds=120
        )
        db.session.rollback()
        yield made, rollout


def _register(site: Site, files: int, server: URL | None, members: int, tenants: int) -> None:
    """Copies of one file and of one database, and schemas of another, that stand at `r001`."""
    scripts = Scripts.load(site.folder / "scripts")
    first = site.fleet.folder / "d000.db"
    scripts.at(first).create("r001")
    urls = [f"sqlite:///{first}"] * bool(files)
    for number in range(1, files):
        shutil.copy(first, site.fleet.folder / f"d{number:03}.db")
        urls.append(f"sqlite:///{site.fleet.folder}/d{number:03}.db")
    if server is not None and members:
        _run(server, "CREATE DATABASE m000")
        scripts.at(server.set(database="m000")).upgrade("r001")
        for number in range(1, members):
            _run(server, f"CREATE DATABASE m{number:03} TEMPLATE m000")
        urls += [
            server.set(database=f"m{number:03}").render_as_string(hide_password=False)
            for number in range(members)
        ]
    if server is not None and tenants:
        _run(server, f"CREATE DATABASE {SHARED}")
        shared = DatabaseURL.of(server).at(SHARED)
        for number in range(tenants):
            tenant = shared.in_schema(f"t{number:03}")
            scripts.at(tenant).create("r001")
            urls.append(tenant.text())
    rows = [{"name": f"n{number:04}", "url": text} for number, text in enumerate(urls)]
    done = databases.register_many(ROOT, site.fleet.project_id, rows)
    assert done.added == len(urls), done
    assert refresh.refresh(site.fleet.project_id) == len(urls)
    db.session.rollback()


def wreck(made: Chaos, rollout: Rollout, kills: int, *, patience: float, say: Say = print) -> int:
    """Kill so many times while the rollout goes on, and wait for its end; how often it was."""
    total = sum(rollout.sizes)
    names = list(made.victims) * kills
    order = names[:kills]
    made.dice.shuffle(order)
    deadline, done = time.monotonic() + patience, 0
    for number, name in enumerate(order):
        wanted = total * (number + 1) // (kills + 2)
        while (now := _progress(made, rollout))[1] < wanted and time.monotonic() < deadline:
            time.sleep(0.1)
        if now[0] is Stage.SUCCEEDED:
            break
        time.sleep(made.dice.uniform(0, 0.5))
        began = time.monotonic()
        made.victims[name]()
        done += 1
        say(f"{done:3}. {name:16} at {now[1]:4} of {total}, back after {_since(began)}")
    left = max(deadline - time.monotonic(), 1)
    try:
        made.site.until(lambda: _progress(made, rollout)[0] is Stage.SUCCEEDED, left)
    except AssertionError as error:
        raise AssertionError(f"{_rest(made, rollout)}\n{error}") from None
    return done


def _rest(made: Chaos, rollout: Rollout) -> str:
    """Where the rollout stands, and what of it is left."""
    now = datetime.now(UTC)
    rest = [
        f"run {run.id} of {run.server or 'a file'}, {run.state}, attempt {run.attempt}"
        + (f", again in {(run.retry_at - now).total_seconds():.0f} s" if run.retry_at else "")
        + (f": {run.error}" if run.error else "")
        for run in made.site.runs_of(rollout)
        if run.state != State.SUCCEEDED
    ]
    db.session.rollback()
    return "\n".join([str(made.site.fleet.stage(rollout)), *rest])


def _progress(made: Chaos, rollout: Rollout) -> tuple[Stage | None, int]:
    try:
        stage = made.site.fleet.stage(rollout)
        return stage, made.site.states(rollout).get(State.SUCCEEDED, 0)
    except (DBAPIError, HeadwayError):
        with contextlib.suppress(DBAPIError):
            db.session.rollback()
        return None, 0  # the catalog is away


def examine(made: Chaos, rollout: Rollout) -> dict[str, object]:
    """What came of it. Raises AssertionError where a database or its record is not right."""
    require_right_counts()
    runs = made.site.runs_of(rollout)
    databases = db.session.scalars(sa.select(Database).order_by(Database.id)).all()
    db.session.rollback()
    assert Counter(run.database_id for run in runs) == Counter(one.id for one in databases)
    assert {run.state for run in runs} == {State.SUCCEEDED}
    by_database = {run.database_id: run for run in runs}
    for database in databases:
        version, ran = _truth(made, database)
        assert version == AFTER, (database.name, version)
        assert ran == RAN, (database.name, ran, "each revision ran once")
        assert database.current == version, (database.name, database.current)
        assert by_database[database.id].after == version
        assert database.rollout_id is None
    assert made.site.fleet.counts() == {("at_head", AFTER): len(databases)}
    _examine_shared(made, [one.address for one in databases if "schema=" in one.address])
    attempts = Counter(run.attempt for run in runs)
    return {"databases": len(databases), "attempts": dict(sorted(attempts.items()))}


def _examine_shared(made: Chaos, tenants: list[str]) -> None:
    """Beside its tenants their database has nothing, and no schema that is none's."""
    if not tenants:
        return
    assert made.postgresql
    engine = sa.create_engine(made.postgresql.url.set(database=SHARED), poolclass=sa.NullPool)
    tables = (
        "SELECT schemaname FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', "
        "'information_schema') GROUP BY 1"
    )
    with engine.connect() as connection:
        found = set(connection.exec_driver_sql(tables).scalars())
    assert found == {DatabaseURL.parse(address).schema for address in tenants}


def _truth(made: Chaos, database: Database) -> tuple[str, list[str]]:
    """What the database itself says: its version, and what ran in it."""
    address = DatabaseURL.parse(database.address)
    url = address
    if address.dialect == "postgresql":
        assert made.postgresql
        url = DatabaseURL.of(made.postgresql.url).at(address.database)
        url = url.in_schema(address.schema) if address.schema else url
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        version = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
        ran = connection.exec_driver_sql("SELECT revision FROM log ORDER BY revision").scalars()
        return "+".join(version), [str(one) for one in ran]


def _run(url: URL, statement: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


__all__ = ["Chaos", "Run", "chaos", "examine", "wreck"]
