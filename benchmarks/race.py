"""Many processes boot at once on one catalog: who dies, who migrates, what is left.

    python benchmarks/race.py                      # every database, 50 tries each
    python benchmarks/race.py --only sqlite --tries 5 --slow
    python benchmarks/race.py --recipe             # the well-known recipe, to compare

Processes: 4 and 8, released by a barrier after their imports. Servers: two gunicorn masters with
four workers each, with the shipped configuration. Each on an empty catalog, one revision behind,
and at head. A try is good if nobody dies, each pending revision is in the history exactly once,
there is one version row, and all reach ready. `--slow` makes one revision take 0.3 s.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, os.environ.get("RACE_RELEASE", str(HERE)))
sys.path.append(str(HERE))

import app
import app.api
import app.boot
from app import create_app
from app.boot import alembic
from app.settings import MIGRATIONS, Settings
from headway.dialects.urls import DatabaseURL
from tests import servers
from tests.conftest import database_on, environment_for
from tests.releases import make_release

FORK = multiprocessing.get_context("fork")
STATES = ("empty", "behind", "head")
REVISIONS = sorted(path.name.partition("_")[0] for path in MIGRATIONS.glob("c*.py"))
SLEEP = "def upgrade() -> None:\n    __import__('time').sleep(0.3)\n"


class Catalogs:
    """Fresh catalogs of one kind in a given state."""

    def __init__(self, backend: str, folder: Path, stack: ExitStack) -> None:
        self.backend, self.folder, self.count = backend, folder, 0
        self.server = (
            None if backend == "sqlite" else stack.enter_context(getattr(servers, backend)())
        )
        self.templates = {state: self._template(state) for state in ("behind", "head")}

    def _template(self, state: str) -> Path | None:
        if self.backend != "sqlite":
            return None
        path = self.folder / f"{state}.sqlite"
        bring(URL.create("sqlite", database=str(path)), state)
        return path

    @contextlib.contextmanager
    def fresh(self, state: str) -> Iterator[URL]:
        self.count += 1
        if self.server is not None:
            with database_on(self.server) as url:
                bring(url, state)
                yield url
            return
        folder = self.folder / str(self.count)
        folder.mkdir()
        path = folder / "catalog.sqlite"
        if template := self.templates.get(state):
            shutil.copy(template, path)
        yield URL.create("sqlite", database=str(path))
        shutil.rmtree(folder)


def bring(url: URL, state: str) -> None:
    """Put a catalog into a state, in a process of its own: forks must share no connection."""
    if state == "empty":
        return
    process = FORK.Process(target=_bring, args=(url, state))
    process.start()
    process.join()
    assert process.exitcode == 0


def _bring(url: URL, state: str) -> None:
    quiet()
    catalog = create_app(settings(url), migrate=False)
    with catalog.app_context():
        alembic.upgrade(REVISIONS[-1] if state == "head" else REVISIONS[-2])


def settings(url: URL) -> Settings:
    return Settings(database_url=DatabaseURL.of(url), secret_key="x" * 32, log_level="warning")


def quiet() -> None:
    """Into the void: what a first start prints."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)


# --- one try ----------------------------------------------------------------------------------


def processes(count: int, url: URL, boot: Callable[[URL], None]) -> list[str]:
    """Boot in so many processes at once; what went wrong, a line each."""
    barrier, said = FORK.Barrier(count), FORK.SimpleQueue()
    started = [FORK.Process(target=_one, args=(barrier, said, url, boot)) for _ in range(count)]
    for process in started:
        process.start()
    for process in started:
        process.join(120)
        if process.is_alive():
            process.kill()
    wrong = [] if all(p.exitcode == 0 for p in started) else ["a process died"]
    while not said.empty():
        wrong.append(said.get())
    return wrong


def _one(barrier: Any, said: Any, url: URL, boot: Callable[[URL], None]) -> None:
    quiet()
    barrier.wait()
    try:
        boot(url)
    except BaseException:
        said.put(traceback.format_exc().strip().splitlines()[-1])
        os._exit(1)


def headway(url: URL) -> None:
    create_app(settings(url))


def recipe(url: URL) -> None:
    """What people copy: Flask-Alembic's upgrade() when the application starts."""
    from flask import Flask
    from flask_alembic import Alembic
    from flask_sqlalchemy import SQLAlchemy

    plain = Flask("recipe")
    plain.config["SQLALCHEMY_DATABASE_URI"] = url
    plain.config["ALEMBIC"] = {"script_location": str(MIGRATIONS)}
    SQLAlchemy(plain)
    extension = Alembic(plain, run_mkdir=False)
    with plain.app_context():
        extension.upgrade()


def masters(url: URL) -> list[str]:
    """Two gunicorn masters with four workers each; what went wrong, a line each."""
    ports = [servers.free_port() for _ in range(2)]
    release = Path(app.__file__).parent.parent
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(tempfile.TemporaryFile("w+")) for _ in ports]
        started = [
            subprocess.Popen(
                [Path(sys.executable).with_name("gunicorn"), "wsgi:app"],
                cwd=release,
                env=environment_for(
                    url, PORT=str(port), WEB_CONCURRENCY="4", PYTHONPATH=str(release)
                ),
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
            for port, log in zip(ports, logs, strict=True)
        ]
        wrong = [text for port in ports for text in _ready(port)]
        for process in started:
            process.send_signal(signal.SIGTERM)
        wrong += [f"exit {code}" for process in started if (code := process.wait(60)) != 0]
        for log in logs:
            log.seek(0)
            text = log.read()
            bad = ("Traceback", "exited with code", "failed to boot", "was sent SIG")
            wrong += [line for line in text.splitlines() if any(word in line for word in bad)]
            if text.count("Booting worker") != 4:
                wrong.append(f"{text.count('Booting worker')} workers were started, not 4")
        return wrong


def _ready(port: int) -> list[str]:
    """Wait until a server is ready."""
    deadline, last = time.monotonic() + 60, ""
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
                body = json.load(answer)
                return [] if body["state"] == "head" else [f"ready at {body}"]
        except (OSError, urllib.error.URLError) as error:
            last = str(error)
        time.sleep(0.1)
    return [f"never ready: {last}"]


def left_behind(url: URL, state: str) -> list[str]:
    """What a good try leaves: one version row, each revision once."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        versions = connection.scalars(sa.text("SELECT version_num FROM alembic_version")).all()
        rows = connection.execute(
            sa.text("SELECT revision FROM headway_history WHERE outcome = 'succeeded'")
        )
        applied = Counter(row[0] for row in rows)
    wrong = [] if versions == REVISIONS[-1:] else [f"versions {versions}"]
    if applied != Counter(REVISIONS):
        wrong.append(f"history of {state}: {dict(applied)}")
    return wrong


# --- all tries --------------------------------------------------------------------------------


def race(args: argparse.Namespace) -> int:
    kinds: dict[str, Callable[[URL], list[str]]] = {
        "4 processes": lambda url: processes(4, url, recipe if args.recipe else headway),
        "8 processes": lambda url: processes(8, url, recipe if args.recipe else headway),
    }
    if not args.recipe:
        kinds["2 masters x 4 workers"] = masters
    bad = 0
    for backend in args.only or ("sqlite", "postgresql", "mariadb"):
        with ExitStack() as stack, tempfile.TemporaryDirectory() as folder:
            catalogs = Catalogs(backend, Path(folder), stack)
            for kind, attempt in kinds.items():
                if args.kind and args.kind not in kind:
                    continue
                for state in ("empty",) if args.recipe else args.state or STATES:
                    bad += report(backend, kind, state, args, catalogs, attempt)
    return 1 if bad and not args.recipe else 0


def report(
    backend: str,
    kind: str,
    state: str,
    args: argparse.Namespace,
    catalogs: Catalogs,
    attempt: Callable[[URL], list[str]],
) -> int:
    began, wrong = time.monotonic(), []
    for _ in range(args.tries):
        with catalogs.fresh(state) as url:
            told = attempt(url)
            wrong.append(told or ([] if args.recipe else left_behind(url, state)))
    failed = [texts for texts in wrong if texts]
    seconds = (time.monotonic() - began) / args.tries
    slow = " slow" if "RACE_RELEASE" in os.environ else ""
    print(
        f"{backend:<11}{kind:<22}{state + slow:<12}"
        f"{args.tries - len(failed):>3} of {args.tries} good  {seconds:5.2f} s a try",
        flush=True,
    )
    for text, count in Counter(texts[-1] for texts in failed).most_common(3):
        print(f"    {count} x {text[:160]}", flush=True)
    return len(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=50)
    parser.add_argument("--only", action="append", choices=["sqlite", "postgresql", "mariadb"])
    parser.add_argument("--state", action="append", choices=STATES)
    parser.add_argument("--kind", help="4 processes, 8 processes or masters")
    parser.add_argument("--slow", action="store_true", help="one revision takes 0.3 s")
    parser.add_argument("--recipe", action="store_true", help="the well-known recipe instead")
    args = parser.parse_args()
    if args.slow and "RACE_RELEASE" not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            release = make_release(Path(folder))
            script = release.script(REVISIONS[-1])
            script.write_text(script.read_text().replace("def upgrade() -> None:\n", SLEEP))
            again = [sys.executable, __file__, *sys.argv[1:]]
            return subprocess.call(again, env=os.environ | {"RACE_RELEASE": folder})
    return race(args)


if __name__ == "__main__":
    sys.exit(main())
