"""A fleet whose work is done by processes of their own, as a user would start them."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet import workers
from app.models import Rollout, Run, State
from tests import servers
from tests.conftest import environment_for
from tests.fleet.fleets import ROOT, Fleet, fleet_on
from tests.migrator.scripts import write_env, write_revision

KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
HOME = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0
ASKS = 'op.get_bind().execute(sa.text("SELECT 1"))'
LOGGED = "op.execute(\"INSERT INTO log (revision) VALUES ('{}')\")"


class Site:
    """A catalog, a fleet, and the processes that were started for them.

    Scripts and members are in folders of their own below `folder`, as settings ask for.
    """

    def __init__(self, fleet: Fleet, url: URL, folder: Path) -> None:
        self.fleet, self.url, self.folder = fleet, url, folder
        self.scripts, self.members = folder / "scripts", folder / "members"
        self.members.mkdir(exist_ok=True)
        self.started: list[subprocess.Popen[bytes]] = []
        self.log = folder / "processes.log"

    def environment(self, **more: str) -> dict[str, str]:
        """Of a process of this site."""
        roots = {
            "HEADWAY_PROJECT_ROOTS": str(self.scripts),
            "HEADWAY_DATA_ROOTS": str(self.members),
        }
        bin_ = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return environment_for(
            self.url, **roots, HEADWAY_ENCRYPTION_KEYS=KEY, PATH=bin_, FLASK_APP="wsgi:app", **more
        )

    def start(self, *command: str, **environment: str) -> subprocess.Popen[bytes]:
        """A process, ended with the test."""
        with self.log.open("ab") as out:
            process = subprocess.Popen(
                command,
                cwd=HOME,
                env=self.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self.started.append(process)
        return process

    def serve(self, count: int, **environment: str) -> tuple[subprocess.Popen[bytes], int]:
        """A web server with so many workers, and its port."""
        port = str(servers.free_port())
        more = {"PORT": port, "WEB_CONCURRENCY": "1", "HEADWAY_WORKERS": str(count)}
        return self.start("gunicorn", "wsgi:app", **more, **environment), int(port)

    def supervise(self, count: int, **environment: str) -> subprocess.Popen[bytes]:
        """So many workers without a web server."""
        return self.start(
            sys.executable, "-m", "app.processes.supervisor", str(count), **environment
        )

    def celery(self, broker: str, count: int = 1) -> subprocess.Popen[bytes]:
        """A Celery worker, as `flask workers run` starts it."""
        run = ("flask", "workers", "run", "--concurrency", str(count))
        return self.start(*run, HEADWAY_BROKER_URL=broker)

    def files(self) -> list[Path]:
        """Those of the fleet."""
        return sorted(self.fleet.folder.glob("d???.db"))

    def found(self) -> dict[str, int]:
        """How many files have which list of revisions that ran."""
        return dict(Counter("+".join(logged(path)) for path in self.files()))

    def begin(self, count: int, **values: Any) -> Rollout:
        """A rollout over so many files, started."""
        self.fleet.add_many(count)
        rollout = self.fleet.start(**values)
        db.session.rollback()
        return rollout

    def runs_of(self, rollout: Rollout) -> list[Run]:
        """Its runs, those that were tried again left out."""
        made = self.fleet.runs_of(rollout)
        db.session.rollback()
        return made

    def flask(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """A command, to its end."""
        return subprocess.run(
            ("flask", *arguments),
            cwd=HOME,
            env=self.environment(**environment),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def alive(self) -> list[workers.WorkerInfo]:
        """The workers that the catalog believes to be alive."""
        found, _ = workers.list_workers(ROOT, limit=100)
        db.session.rollback()
        return found

    def until_alive(self, count: int) -> list[workers.WorkerInfo]:
        """Them, once there are so many."""
        self.until(lambda: len(self.alive()) == count)
        return self.alive()

    def until(self, true: Callable[[], object], patience: float = PATIENCE) -> None:
        """Wait; what the processes said is told if it does not come true."""
        deadline = time.monotonic() + patience
        while not self._is(true):
            if time.monotonic() > deadline:
                raise AssertionError(f"It does not come true.\n{self.log.read_text()[-8000:]}")
            time.sleep(0.05)

    def _is(self, true: Callable[[], object]) -> bool:
        try:
            return bool(true())
        finally:
            db.session.rollback()  # on SQLite a reader keeps writers waiting

    def states(self, rollout: Rollout) -> dict[str, int]:
        """How many runs of a rollout are in which state, attempts that were repeated left out."""
        query = (
            sa.select(Run.state, sa.func.count())
            .where(Run.rollout_id == rollout.id, Run.replaced_by.is_(None))
            .group_by(Run.state)
        )
        found = {str(state): count for state, count in db.session.execute(query)}
        db.session.rollback()
        return found

    def until_ended(self, rollout: Rollout, patience: float = PATIENCE) -> None:
        """Until the rollout has succeeded."""
        self.until(lambda: self.fleet.stage(rollout) == "succeeded", patience)

    def until_running(self, rollout: Rollout, count: int = 1) -> None:
        """Until so many of its databases are being migrated."""
        self.until(lambda: self.states(rollout).get(State.RUNNING, 0) >= count)

    def end(self) -> None:
        """Nothing goes on after the test."""
        for process in self.started:
            if process.poll() is not None:
                continue  # its number may be somebody else's by now
            for one in [*family(process.pid), process]:
                with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                    one.kill()
            process.wait()


def family(pid: int) -> list[psutil.Process]:
    """The processes below one."""
    try:
        return list(psutil.Process(pid).children(recursive=True))
    except psutil.NoSuchProcess:
        return []


def those_below(pid: int, module: str) -> list[psutil.Process]:
    """The processes below one that run this module."""
    found = []
    for one in family(pid):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if module in one.cmdline():
                found.append(one)
    return found


def supervisor_of(server: "subprocess.Popen[bytes]") -> psutil.Process:
    """The supervisor beside a web server."""
    return those_below(server.pid, "app.processes.supervisor")[0]


def is_running(pid: int) -> bool:
    """True unless it has ended; a zombie has."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    """As a power cut would."""
    os.kill(pid, signal.SIGKILL)


def logged(path: Path) -> list[str]:
    """The revisions that ran on a file, each time that one did."""
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.connect() as connection:
        found = connection.exec_driver_sql("SELECT revision FROM log ORDER BY revision")
        return [str(revision) for (revision,) in found]


def write_logging_project(folder: Path, seconds: float = 0.0, revisions: int = 2) -> Path:
    """`r001`, which makes a table without a key, and more that add a line to it when they run.

    Those that take their time ask the database, so that they are never replayed as SQL.
    """
    write_env(folder)
    made = 'op.create_table("log", sa.Column("revision", sa.String(10)))'
    write_revision(folder, "r001", None, [made], ['op.drop_table("log")'])
    for number in range(2, revisions + 2):
        name = f"r{number:03}"
        slow = ["import time", f"time.sleep({seconds})", ASKS] if seconds else []
        up = [*slow, LOGGED.format(name)]
        down = [f"op.execute(\"DELETE FROM log WHERE revision = '{name}'\")"]
        write_revision(folder, name, f"r{number - 1:03}", up, down)
    return folder


@contextlib.contextmanager
def site_on(url: URL, folder: Path, seconds: float = 0.0, **more: Any) -> Iterator[Site]:
    """A site whose catalog is at this URL; each revision takes so many seconds."""
    with fleet_on(url, folder, revisions=1) as fleet:
        write_logging_project(folder / "scripts", seconds, **more)
        fleet.load()
        workers.stop("worker-1")
        site = Site(fleet, url, folder)
        fleet.folder = site.members
        try:
            yield site
        finally:
            site.end()


def get(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def answers(port: int) -> bool:
    try:
        return get(port, "/healthz") == 200 and get(port, "/readyz") == 200
    except OSError:
        return False
