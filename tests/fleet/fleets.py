"""A small fleet in the hands of a test: a project, its databases, and a worker in this process."""

import contextlib
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError

from app import create_app
from app.extensions import db
from app.fleet import databases, projects, rollouts, runs, workers
from app.fleet.addresses import urls
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import writing
from app.fleet.core.visibility import WHOLE_FLEET
from app.fleet.counts import positions, tallies
from app.fleet.isolation.remote import RemoteDatabase
from app.fleet.projects import scripts
from app.fleet.runs import claims, execute
from app.fleet.workers import periodic
from app.models import (
    Database,
    Label,
    LabelCount,
    Project,
    Role,
    Rollout,
    Run,
    Stage,
    State,
)
from headway import Project as Scripts
from headway.plan.plans import Direction
from headway.types import Outcome
from tests.conftest import settings_for
from tests.migrator.scripts import write_env, write_project, write_revision

ROOT = Actor(id=None, name="test", role=Role.ADMIN)
ME = "worker-1"


class Fleet:
    """A project of a few revisions, `r001` and on, and databases that stand at one of them."""

    def __init__(self, app: Flask, folder: Path, revisions: int = 3, name: str = "shop") -> None:
        self.app = app
        self.folder = folder
        self.scripts = write_project(folder / "scripts", revisions)
        made, _ = projects.create_project(ROOT, {"name": name, "location": str(self.scripts)})
        self.project_id = made.id
        self.load()
        if not workers.beat(ME):
            workers.register(ME, "embedded")

    def load(self) -> None:
        """Read the scripts anew."""
        assert scripts.load(self.project_id).problem is None
        db.session.rollback()

    def file(self, name: str, at: str | None = "r001") -> Path:
        """A SQLite file that stands at a revision."""
        path = self.folder / f"{name}.db"
        if at:
            with path.open("xb") as file:
                file.write(standing_at(self.scripts, at))
        return path

    def add(self, name: str, at: str | None = "r001", **values: Any) -> Database:
        """Such a file, registered and looked at."""
        return self.register(name, f"sqlite:///{self.file(name, at)}", **values)

    def register(self, name: str, url: str | URL, **values: Any) -> Database:
        """A database of any kind, registered and looked at."""
        text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
        asked = {"project_id": self.project_id, "name": name, "url": text, **values}
        made, _ = databases.register_database(ROOT, asked)
        refresh(made.id, self.project_id)
        return databases.get_database(ROOT, made.id)

    def add_many(self, count: int, **values: Any) -> list[Database]:
        """`d000` and on."""
        return [self.add(f"d{number:03}", **values) for number in range(count)]

    def rollout(self, **values: Any) -> Rollout:
        """A rollout of this project, not started."""
        asked = {"project_id": self.project_id, "waves": ["100%"], **values}
        return rollouts.create_rollout(ROOT, asked)[0]

    def start(self, **values: Any) -> Rollout:
        """One that is started."""
        return rollouts.start_rollout(ROOT, self.rollout(**values).id)

    def work(self, limit: int = 10, worker: str = ME) -> int:
        """Claim once and do what was claimed; how many."""
        return work(limit, worker)

    def drain(self) -> None:
        """Work until nothing is left that happens by itself."""
        drain(self.work)

    def created(self, name: str, **values: Any) -> Database:
        """A SQLite file that a worker creates. Raises why it was not."""
        url = f"sqlite:///{self.folder / name}.db"
        asked = {"project_id": self.project_id, "name": name, "url": url, **values}
        creation = databases.create_database(ROOT, asked)
        self.drain()
        return created(creation)

    def at(self, database: Database) -> str:
        """Where the file itself says that it stands."""
        path = Path(str(sa.make_url(database.address).database))
        engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
        with engine.connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return ""
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars()
            return "+".join(sorted(found))

    def runs_of(self, rollout: Rollout, **more: Any) -> list[Run]:
        """Its runs, in the order they were made."""
        fresh()
        return runs.list_runs(ROOT, limit=1000, rollout_id=rollout.id, **more)[0]

    def stage(self, rollout: Rollout) -> Stage:
        """Where it is now."""
        fresh()
        return Stage(rollouts.get_rollout(ROOT, rollout.id).stage)

    def counts(self) -> dict[tuple[str, str], int]:
        """How many databases stand where, by the catalog's counts, which hold for its rows."""
        kept = {(c.position, c.current): c.databases for c in positions.counts(self.project_id)}
        rows = db.session.execute(
            sa.select(Database.position, Database.current, sa.func.count())
            .where(Database.retired_at.is_(None))
            .group_by(Database.position, Database.current)
        )
        assert kept == {(position or "unknown", current): n for position, current, n in rows}
        db.session.rollback()
        return kept


def standing_at(folder: Path, at: str) -> bytes:
    """What a SQLite file holds that stands at a revision of these scripts: made once a process."""
    scripts = Scripts.load(folder)
    if (scripts.digest, at) not in _made:
        with tempfile.TemporaryDirectory() as place:
            scripts.at(Path(place) / "made.db").create(at)
            _made[scripts.digest, at] = (Path(place) / "made.db").read_bytes()
    return _made[scripts.digest, at]


_made: dict[tuple[str, str], bytes] = {}
"""Digest of the scripts and revision -> the file."""


def work(limit: int = 10, worker: str = ME) -> int:
    """Claim once and do what was claimed; how many."""
    taken = claims.claim(worker, limit)
    for run_id in taken:
        execute.execute(run_id, worker)
    return len(taken)


def drain(work: Callable[[], int] = work) -> None:
    """Work until nothing is left that happens by itself."""
    for _ in range(200):
        workers.beat(ME)
        periodic.advance_rollouts()
        before = stages()
        if not work() and before == stages():
            periodic.advance_rollouts()
            if before == stages():
                return
    raise AssertionError("it goes on and on")


@contextlib.contextmanager
def working(app: Flask) -> Iterator[None]:
    """A worker beside the test, which works until the block ends."""
    stop, failed = threading.Event(), []

    def work_on() -> None:
        with app.app_context():
            try:
                if not workers.beat(ME):
                    workers.register(ME, "embedded")
                while not stop.wait(0.05):
                    with contextlib.suppress(OperationalError):  # a busy catalog ends no worker
                        periodic.load_due()
                        drain()
                    db.session.rollback()
            except BaseException as error:  # noqa: BLE001
                failed.append(error)
            finally:
                db.session.remove()

    thread = threading.Thread(target=work_on)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


def stages() -> list[tuple[int, str, int]]:
    """Where all rollouts are."""
    rows = db.session.execute(sa.select(Rollout.id, Rollout.stage, Rollout.wave)).all()
    db.session.rollback()
    return [tuple(row) for row in rows]


def created(creation: databases.Creation) -> Database:
    """What was created. Raises why it was not."""
    found = databases.created_within(ROOT, creation, 0)
    assert found, "it goes on"
    return found


def fresh() -> None:
    """What is read from here on is what is there: also where nothing was read since a commit."""
    db.session.rollback()
    db.session.expire_all()


def refresh(database_id: int, project_id: int) -> None:
    """Have a database looked at."""
    project = db.session.get_one(Project, project_id)
    database = db.session.get_one(Database, database_id)
    seen = projects.scripts_of(project).at(urls.url_of(database)).status()
    with writing() as session:
        positions.place(session, {database_id: positions.found_at(seen)})


def move(
    member: RemoteDatabase, target: str = "heads", way: Direction = Direction.UPGRADE
) -> Outcome:
    """Have a database migrated by the process of its project, without a run."""
    return member.move(way, on_found=lambda _: target)


@contextlib.contextmanager
def fleet_on(url: URL, folder: Path, revisions: int = 3, **settings: object) -> Iterator[Fleet]:
    """A fleet whose catalog is at this URL."""
    roots = {"data_roots": (folder,), "project_roots": (folder,)}
    keys = {"encryption_keys": ("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",)}
    app = create_app(settings_for(url, **roots, **keys, **settings))
    with app.app_context():
        try:
            yield Fleet(app, folder, revisions)
        finally:
            db.session.remove()
            db.engine.dispose()


def require_right_counts() -> None:
    """Compare the counts that are kept with what they count, whatever a test did to it."""
    db.session.rollback()
    runs, living = Run.replaced_by.is_(None), Database.retired_at.is_(None)
    with db.engine.connect() as connection:

        def grouped(*columns: Any, where: Any) -> dict[tuple[Any, ...], int]:
            query = sa.select(*columns, sa.func.count()).where(where).group_by(*columns)
            return {tuple(row[:-1]): row[-1] for row in connection.execute(query)}

        label = (Database.project_id, Label.name, Label.value)
        of_living = living & (Label.database_id == Database.id)
        rows = connection.execute(sa.select(*LabelCount.__table__.columns))
        kept = {tuple(row[:-1]): row[-1] for row in rows if row[-1]}
        assert kept == grouped(*label, where=of_living)
        real = grouped(Run.rollout_id, Run.kind, Run.wave, Run.state, where=runs)
    whole = {"execution_options": {WHOLE_FLEET: True}}
    counted = {
        (rollout.id, *wave, state): number
        for rollout in db.session.scalars(sa.select(Rollout), **whole).all()
        for wave, states in tallies.states(rollout).items()
        for state, number in states.items()
    }
    assert counted == real
    differing = tallies.differing(db.session.scalars(sa.select(Rollout), **whole).all())
    with db.engine.connect() as connection:
        differs = runs & (Run.differences > 0) & (Run.state == State.SUCCEEDED)
        differs &= Run.kind == "check"
        query = sa.select(Run.rollout_id, sa.func.count()).where(differs).group_by(Run.rollout_id)
        assert differing == {key: number for key, number in connection.execute(query)}  # noqa: C416


def settled() -> None:
    """Have the runs counted that a test has changed by itself."""
    with writing() as session:
        for rollout_id in session.scalars(sa.select(Rollout.id)).all():
            tallies.settle(session, rollout_id)


def lose_worker(name: str = ME) -> None:
    """As if a worker had not been heard for long."""
    from app.models import Worker

    long_ago = datetime.now(UTC) - timedelta(hours=1)
    with db.engine.begin() as connection:
        connection.execute(sa.update(Worker).where(Worker.name == name).values(beat_at=long_ago))


__all__ = ["ME", "ROOT", "Fleet", "fleet_on", "lose_worker", "write_env", "write_revision"]


def broken(fleet: Fleet, *databases: Database) -> None:
    """Make these fail: r002 wants to make a table that is there."""
    for database in databases:
        with sqlite(database) as connection:
            connection.exec_driver_sql("CREATE TABLE t2 (x INTEGER)")


def mended(*databases: Database) -> None:
    for database in databases:
        with sqlite(database) as connection:
            connection.exec_driver_sql("DROP TABLE t2")


def sqlite(database: Database) -> sa.Connection:
    path = sa.make_url(database.address).database
    engine = sa.create_engine(
        f"sqlite:///{path}", poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
    )
    return engine.connect()
