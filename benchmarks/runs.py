"""What a run costs a worker, split: the catalog, the migration, and what is left.

    python benchmarks/runs.py                         # a SQLite and a PostgreSQL catalog
    python benchmarks/runs.py --only sqlite --runs 1000 --profile
    python benchmarks/runs.py --workers 1 2 4 8 16    # runs a second against workers

One worker in this process upgrades SQLite files by two revisions of one statement each, without
and with a snapshot, and undoes that. "Statements", "commits" and "rollbacks" are those that the
catalog is sent for each run; "catalog" is the time that they take, commits included; "migration"
the time in the child process that opens the databases; "rest" is Python in the worker. Beside it
the same files by the library alone, in this process, and by `alembic.command.upgrade` in a loop.
"""

import argparse
import contextlib
import cProfile
import io
import logging
import pstats
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import URL

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app import boot
from app.extensions import db
from app.fleet import databases, rollouts
from app.fleet.core.permissions import Actor
from app.fleet.isolation import parent
from app.fleet.refresh import refresh
from app.fleet.rollouts import advance
from app.fleet.workers.worker import WorkerLoop, WorkerProcess
from app.models import Role, Run
from benchmarks.fleet import alembics
from headway import Project
from tests import servers
from tests.conftest import database_on
from tests.fleet.fleets import Fleet, fleet_on
from tests.fleet.sites import Site, site_on

ME = Actor(id=None, name="benchmark", role=Role.ADMIN)
CATALOGS = ("sqlite", "postgresql")
LOOP = 100
"""How many files the plain loops upgrade."""


class Meter:
    """Counts what the catalog is sent, and adds up where the time goes."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine
        self.counts: Counter[str] = Counter()
        self.texts: Counter[str] = Counter()
        self.seconds: dict[str, float] = defaultdict(float)
        self._began = 0.0
        sa.event.listen(engine, "before_cursor_execute", self._before)
        sa.event.listen(engine, "after_cursor_execute", self._after)
        dialect = engine.dialect
        self._wrapped = {name: getattr(dialect, name) for name in ("do_commit", "do_rollback")}
        for name, real in self._wrapped.items():
            setattr(dialect, name, self._timed(name[3:] + "s", "catalog", real))
        self._call = parent.call
        parent.call = self._timed("requests", "migration", parent.call)

    def _before(self, *_: object) -> None:
        self._began = time.perf_counter()

    def _after(
        self, _: object, __: object, statement: str, values: Any, ___: object, many: bool
    ) -> None:
        self.seconds["catalog"] += time.perf_counter() - self._began
        self.counts["statements"] += len(values) if many else 1
        self.texts[" ".join(statement.split())[:110]] += 1

    def _timed(self, what: str, where: str, real: Callable[..., object]) -> Callable[..., object]:
        def timed(*arguments: object, **more: object) -> object:
            began = time.perf_counter()
            try:
                return real(*arguments, **more)
            finally:
                self.counts[what] += 1
                self.seconds[where] += time.perf_counter() - began

        return timed

    def clear(self) -> None:
        for one in (self.counts, self.texts, self.seconds):
            one.clear()

    def end(self) -> None:
        sa.event.remove(self.engine, "before_cursor_execute", self._before)
        sa.event.remove(self.engine, "after_cursor_execute", self._after)
        for name, real in self._wrapped.items():
            setattr(self.engine.dialect, name, real)
        parent.call = self._call


def processor(processes: list[psutil.Process]) -> float:
    """Seconds of processor time of these processes."""
    return sum(sum(one.cpu_times()[:2]) for one in processes)


def drain(process: WorkerProcess) -> None:
    """Until nothing is due."""
    loop, idle = WorkerLoop(process, threading.Event()), 0
    while idle < 3:
        name = process.name
        if name is None:
            time.sleep(0.02)
            continue
        idle = 0 if loop.take_and_run(name) else idle + 1
        if idle:
            with process.app.app_context():
                advance.advance()


def measure(
    fleet: Fleet, process: WorkerProcess, count: int, *, snapshot: bool, texts: bool, profile: bool
) -> list[str]:
    """Upgrade and undo so many files; a row of each."""
    values = {"project_id": fleet.project_id, "target": "r003", "waves": ["100%"]}
    made, _ = rollouts.create_rollout(ME, values | {"snapshot": snapshot, "concurrency": 100})
    rows = []
    family = [psutil.Process(), *psutil.Process().children(recursive=True)]
    meter = Meter(db.engine)
    profiler = cProfile.Profile()
    try:
        for what, begin in (
            ("upgrade, with a snapshot" if snapshot else "upgrade", rollouts.start_rollout),
            ("undo", rollouts.undo_rollout),
        ):
            begin(ME, made.id)
            db.session.remove()
            meter.clear()
            used, began = processor(family), time.perf_counter()
            if profile:
                profiler.enable()
            drain(process)
            profiler.disable()
            took, used = time.perf_counter() - began, processor(family) - used
            each, ms = meter.counts, {k: v / count * 1000 for k, v in meter.seconds.items()}
            rest = took / count * 1000 - ms["catalog"] - ms["migration"]
            rows.append(
                f"| {what} | {count / took:.0f} | {each['statements'] / count:.1f} | "
                f"{each['commits'] / count:.1f} | {each['rollbacks'] / count:.1f} | "
                f"{each['requests'] / count:.1f} | {ms['catalog']:.2f} | {ms['migration']:.2f} | "
                f"{rest:.2f} | {used / count * 1000:.1f} |"
            )
            stage = fleet.stage(made)
            assert stage.is_final, f"{stage}: {rollouts.get_rollout(ME, made.id).reason}"
            if texts:
                for text, many in meter.texts.most_common(40):
                    print(f"    {many / count:6.2f}  {text}")
    finally:
        meter.end()
    if profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(60)
    return rows


def scale(kind: str, count: int, workers: Sequence[int]) -> None:
    """Runs a second with so many worker processes, and what the catalog's statements take then."""
    print(f"\n{kind} catalog, {count} files, upgraded by worker processes")
    print("| workers | runs a second | ms of the server's time in statements a run |")
    print("|---|---|---|")
    for many in workers:
        with (
            tempfile.TemporaryDirectory() as name,
            catalog(kind, Path(name)) as url,
            contextlib.redirect_stderr(io.StringIO()),
            site_on(url, Path(name)) as site,
        ):
            logging.disable(logging.ERROR)
            fill(site, count)
            site.supervise(many, HEADWAY_LOG_LEVEL="error")
            site.until_alive(many)
            limits = {"concurrency": 100, "snapshot": False}
            # Each worker has to read the scripts and to run a revision once.
            site.until_ended(site.fleet.start(target="r002", **limits), 900)
            statements = ServerTime(url)
            rollout = site.fleet.start(target="r003", **limits)
            db.session.remove()
            site.until_ended(rollout, 900)
            spent = statements.spent()
            moments = sa.select(sa.func.min(Run.started_at), sa.func.max(Run.finished_at))
            begun, ended = db.session.execute(moments.where(Run.rollout_id == rollout.id)).one()
            assert begun
            assert ended
            took = (ended - begun).total_seconds()
            each = "" if spent is None else f"{spent / count:.2f}"
            print(f"| {many} | {count / took:.0f} | {each} |", flush=True)


def fill(site: Site, count: int) -> None:
    """So many files at r001, registered and looked at."""
    first = site.fleet.file("d000")
    copies = [first.with_name(f"d{number:05}.db") for number in range(count)]
    for path in copies:
        shutil.copyfile(first, path)
    rows = [{"name": path.stem, "url": f"sqlite:///{path}"} for path in copies]
    for start in range(0, count, 1000):
        databases.register_many(ME, site.fleet.project_id, rows[start : start + 1000])
    refresh.refresh(site.fleet.project_id)


class ServerTime:
    """The time that a PostgreSQL server spends in statements of a catalog, where it counts that."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.began = self._read()

    def _read(self) -> float | None:
        if self.url.get_backend_name() != "postgresql":
            return None
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("SELECT pg_stat_clear_snapshot()")
            found = connection.exec_driver_sql(
                "SELECT active_time FROM pg_stat_database WHERE datname = current_database()"
            )
            return float(found.scalar_one())

    def spent(self) -> float | None:
        """Milliseconds since it was made."""
        time.sleep(1.5)  # sessions tell of it now and then
        now = self._read()
        return None if now is None or self.began is None else now - self.began


def rivals(folder: Path, scripts: Path) -> list[str]:
    """The same files by the library alone and by Alembic's own function."""
    project = Project.load(scripts)
    library, plain = [], []
    for number in range(LOOP):
        path = folder / f"rival{number}.db"
        project.at(path).create("r001")
        began = time.perf_counter()
        project.at(path, snapshot=False).upgrade("r003")
        library.append(time.perf_counter() - began)
        project.at(path).downgrade("r001")
        began = time.perf_counter()
        command.upgrade(alembics(scripts, URL.create("sqlite", database=str(path))), "r003")
        plain.append(time.perf_counter() - began)
    return [
        f"| {what} | {1 / statistics.median(times):.0f} |  |  |  |  |  |  |  | "
        f"{statistics.median(times) * 1000:.1f} |"
        for what, times in (("the library alone", library), ("alembic.command.upgrade", plain))
    ]


@contextlib.contextmanager
def catalog(kind: str, folder: Path) -> Iterator[URL]:
    if kind == "sqlite":
        yield URL.create("sqlite", database=str(folder / "catalog.sqlite"))
        return
    with servers.postgresql() as server, database_on(server) as url:
        yield url


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--only", choices=CATALOGS)
    parser.add_argument("--texts", action="store_true", help="each statement, with its number")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--workers", type=int, nargs="+")
    given = parser.parse_args()
    for kind in (given.only,) if given.only else CATALOGS:
        if given.workers:
            scale(kind, given.runs, given.workers)
            continue
        with (
            tempfile.TemporaryDirectory() as name,
            catalog(kind, Path(name)) as url,
            contextlib.redirect_stderr(io.StringIO()),  # the first token of a new catalog
            fleet_on(url, Path(name)) as fleet,
        ):
            logging.disable(logging.ERROR)
            fleet.add_many(given.runs)
            process = WorkerProcess(
                fleet.app, engine="embedded", state=boot.state, outdated=list, tasks=()
            )
            process.start()
            print(f"\n{kind} catalog, {given.runs} files")
            print(
                "| | a second | statements | commits | rollbacks | requests | catalog ms | "
                "migration ms | rest ms | processor ms |"
            )
            print("|---|---|---|---|---|---|---|---|---|---|")
            for snapshot in (False, True):
                for row in measure(
                    fleet,
                    process,
                    given.runs,
                    snapshot=snapshot,
                    texts=given.texts,
                    profile=given.profile and not snapshot,
                ):
                    print(row, flush=True)
            process.end()
            for row in rivals(Path(name), fleet.scripts):
                print(row, flush=True)


if __name__ == "__main__":
    main()
