"""The story of a rollout, from a fresh start to its undo, beside a loop of `alembic upgrade`.

    python benchmarks/rollout.py                      # 1,000 SQLite files, embedded workers
    python benchmarks/rollout.py --files 0 --postgresql 100 --mariadb 50 --broker redis
    python benchmarks/rollout.py --files 0 --postgresql 100 --mariadb 50 --broker rabbitmq

The shop of `examples/fleet`, at s0001; three databases of each kind have a table that is in the
way. Everything is done by the commands of the documentation, in processes of their own: register,
roll out two revisions in waves of 1, 5 % and 100 %; it halts; the three are mended; it goes on;
all of it is taken back. With a broker the catalog is on PostgreSQL and two Celery workers do the
work.
"""

import argparse
import contextlib
import csv
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import URL

HOME = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(HOME), str(HOME / "examples" / "fleet")]

from make import SCRIPTS, make

from benchmarks.fleet import alembics
from headway import Project
from tests import servers
from tests.conftest import database_on

BIN = Path(sys.executable).parent
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
IN_THE_WAY = "CREATE TABLE city (made_by_hand VARCHAR(10))"
LOOP, SHELL = 75, 15
"""How many databases the plain loops bring to head: each costs them the same."""


class Story:
    """A fresh start, and the processes of it."""

    def __init__(self, folder: Path, catalog: URL, broker: str | None) -> None:
        self.folder = folder
        self.env = os.environ | {
            "HEADWAY_DATABASE_URL": catalog.render_as_string(hide_password=False),
            "HEADWAY_DATA_ROOTS": str(folder),
            "HEADWAY_PROJECT_ROOTS": str(HOME / "examples"),
            "HEADWAY_SECRET_KEY": "a key of thirty-two bytes or more",
            "HEADWAY_ENCRYPTION_KEYS": KEY,
            "HEADWAY_LOG_LEVEL": "warning",
            "FLASK_APP": "wsgi:app",
            "PORT": str(servers.free_port()),
        }
        if broker:
            self.env["HEADWAY_BROKER_URL"] = broker
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log = (folder / "processes.log").open("ab")

    def start(self, *words: str) -> None:
        """A process that goes on."""
        self.processes.append(
            subprocess.Popen(
                [BIN / words[0], *words[1:]],
                cwd=HOME,
                env=self.env,
                stdout=self.log,
                stderr=self.log,
            )
        )

    def flask(self, *words: str, ok: tuple[int, ...] = (0,)) -> str:
        """A command to its end; what it says."""
        done = subprocess.run(
            [BIN / "flask", *words],
            cwd=HOME,
            env=self.env,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode not in ok:
            raise SystemExit(
                f"flask {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done.stdout

    def wait(self, true: Any, patience: float = 60) -> None:
        """Until something holds."""
        deadline = time.monotonic() + patience
        while not true():
            if time.monotonic() > deadline:
                raise SystemExit(f"It does not come true. See {self.log.name}.")
            time.sleep(0.2)

    def end(self) -> None:
        """Stop what was started."""
        for process in self.processes:
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            process.wait(timeout=30)
        self.log.close()


def say(what: str, seconds: float, databases: int | None = None) -> None:
    speed = f"{databases / seconds:10.1f} databases/s" if databases else ""
    print(f"  {what:<46}{seconds:8.1f} s{speed}", flush=True)


def members(kind: str, urls: list[URL], broken: int = 3) -> list[URL]:
    """Bring these databases to s0001, with the table that is in the way in some; those."""
    project = Project.load(SCRIPTS)
    bad = {len(urls) * (n + 1) // 7 for n in range(broken)}
    for number, url in enumerate(urls):
        member = project.at(url)
        if kind == "postgresql":
            member.address.dialect.drop(url)
            member.create("s0001")
        else:
            member.upgrade("s0001")
        if number in bad:
            execute(url, IN_THE_WAY)
    return [url for number, url in enumerate(urls) if number in bad]


def execute(url: URL, statement: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def current(url: URL) -> str:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        return str(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar())


def register(story: Story, urls: list[URL]) -> None:
    """By a file of JSON lines, as one would who has them in a table."""
    lines = story.folder / "databases.jsonl"
    lines.write_text(
        "".join(
            json.dumps(
                {
                    "name": Path(str(url.database)).stem,
                    "url": url.render_as_string(hide_password=False),
                }
            )
            + "\n"
            for url in urls
        )
    )
    story.flask("databases", "import", str(lines), "--project", "shop")


def tell(story: Story, urls: list[URL], broken: list[URL]) -> None:
    """The story itself, timed."""
    total, began = len(urls), time.monotonic()
    story.flask("projects", "create", "shop", str(SCRIPTS))
    story.wait(lambda: "ready" in story.flask("projects", "show", "shop"))
    register(story, urls)
    say("registered", time.monotonic() - began, total)
    waves = [word for wave in ("1", "5%", "100%") for word in ("--wave", wave)]
    started = time.monotonic()
    said = story.flask("rollouts", "create", "--project", "shop", *waves, "--watch", ok=(1,))
    halted = time.monotonic() - started
    print("   ", said.strip().splitlines()[-2])
    for url in broken:
        execute(url, "DROP TABLE city")
    started = time.monotonic()
    story.flask("rollouts", "resume", "1", "--watch")
    upgraded = halted + time.monotonic() - started
    say("two revisions, halted once, mended, resumed", upgraded, total)
    check(urls, "s0003")
    say("  of it, with a run going on", at_work(story), total)
    started = time.monotonic()
    story.flask("rollouts", "undo", "1", "--watch")
    say("taken back", time.monotonic() - started, total)
    check(urls, "s0001")
    say("from a fresh start to the end", time.monotonic() - began)
    for words, many, way in (
        ("`alembic upgrade head`, a process for each", SHELL, shell_loop),
        ("the same in one process", LOOP, loop),
    ):
        some = urls[:: max(1, len(urls) // many)]  # of each kind its share
        seconds = way(some) / len(some)
        for url in some:
            Project.load(SCRIPTS).at(url).downgrade("s0001")
        say(f"{words}, {len(some)} of them", seconds * len(some), len(some))
        print(f"    a rollout is {seconds * total / upgraded:.1f} times as quick")


def at_work(story: Story) -> float:
    """Seconds in which some run of the upgrade was going on: without halts, polls and commands."""
    kept = story.folder / "runs.csv"
    story.flask("runs", "export", "--rollout", "1", "--format", "csv", "--output", str(kept))
    with kept.open(newline="") as lines:
        runs = [(row["started_at"], row["finished_at"]) for row in csv.DictReader(lines)]
    moments = [tuple(map(datetime.fromisoformat, span)) for span in runs if all(span)]
    spans = sorted((start.timestamp(), end.timestamp()) for start, end in moments)
    busy, until = 0.0, 0.0
    for start, end in spans:
        busy += max(end - max(start, until), 0)
        until = max(until, end)
    return busy


def check(urls: list[URL], revision: str) -> None:
    found = Counter(map(current, urls))
    if found != {revision: len(urls)}:
        raise SystemExit(f"They are at {dict(found)}, not at {revision}.")


def loop(urls: list[URL]) -> float:
    began = time.monotonic()
    for url in urls:
        command.upgrade(alembics(SCRIPTS, url), "head")
    return time.monotonic() - began


def shell_loop(urls: list[URL]) -> float:
    """As a script does it: one command a database."""
    began = time.monotonic()
    for url in urls:
        with tempfile.NamedTemporaryFile("w", suffix=".ini") as ini:
            shown = url.render_as_string(hide_password=False).replace("%", "%%")
            ini.write(f"[alembic]\nscript_location = {SCRIPTS}\nsqlalchemy.url = {shown}\n")
            ini.flush()
            upgrade = [str(BIN / "alembic"), "-c", ini.name, "upgrade", "head"]
            subprocess.run(upgrade, check=True, capture_output=True)
    return time.monotonic() - began


@contextlib.contextmanager
def places(given: argparse.Namespace, folder: Path) -> Iterator[tuple[list[URL], list[URL], URL]]:
    """The databases, those of them that are broken, and an empty catalog."""
    urls, broken = [], []
    with contextlib.ExitStack() as stack:
        if given.files:
            paths = list(make(folder / "data", given.files))
            urls = [URL.create("sqlite", database=str(path)) for path in paths]
            broken = [urls[given.files * (n + 1) // 7] for n in range(3)]
            for url in broken:
                execute(url, IN_THE_WAY)
        for kind in ("postgresql", "mariadb"):
            if count := getattr(given, kind):
                server = stack.enter_context(getattr(servers, kind)())
                mine = [stack.enter_context(database_on(server)) for _ in range(count)]
                broken += members(kind, mine)
                urls += mine
        catalog = URL.create("sqlite", database=str(folder / "catalog.sqlite"))
        if given.broker:
            server = stack.enter_context(servers.postgresql())
            catalog = stack.enter_context(database_on(server))
        yield urls, broken, catalog


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--postgresql", type=int, default=0)
    parser.add_argument("--mariadb", type=int, default=0)
    parser.add_argument("--broker", choices=("redis", "rabbitmq"))
    given = parser.parse_args()
    logging.getLogger("alembic").setLevel(logging.ERROR)
    broker = {
        "redis": os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/9"),
        "rabbitmq": os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//"),
    }.get(given.broker)
    with (
        tempfile.TemporaryDirectory() as name,
        places(given, Path(name)) as (urls, broken, catalog),
    ):
        story = Story(Path(name), catalog, broker)
        kinds = Counter(url.get_backend_name() for url in urls)
        print(
            ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
            f"({given.broker or 'embedded'})",
        )
        try:
            began = time.monotonic()
            story.start("gunicorn", "wsgi:app")
            if broker:
                story.wait(lambda: "c00" in story.flask("db", "current", ok=(0, 1)), 60)
                for _ in range(2):
                    story.start("flask", "workers", "run", "--concurrency", "1")
            workers = 2 if broker else min(4, os.cpu_count() or 1)
            story.wait(lambda: story.flask("workers", "list", ok=(0, 1)).count("alive") >= workers)
            say("started", time.monotonic() - began)
            tell(story, urls, broken)
        finally:
            story.end()


if __name__ == "__main__":
    main()
