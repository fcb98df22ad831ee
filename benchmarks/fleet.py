"""Many databases: upgrade, create and ask, beside Alembic's own commands and the bare driver.

    python benchmarks/fleet.py                     # SQLite and PostgreSQL
    python benchmarks/fleet.py --files 200 --only sqlite

Every side works on copies of the same databases, in this one process, one after the other, each
round of sides in another order. The schemas are compared at the end. Times are per database;
the ratios are what counts.
"""

import argparse
import contextlib
import os
import random
import shutil
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import URL

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from headway.dialects import dialect_of
from headway.project import Project
from tests import servers
from tests.migrator.scripts import write_project

Side = Callable[[URL], object]
ROUND = 50


def alembics(folder: Path, url: URL) -> Config:
    """What a program without Headway would make for one database."""
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    text = url.render_as_string(hide_password=False)
    config.set_main_option("sqlalchemy.url", text.replace("%", "%%"))
    return config


def measure(
    sides: dict[str, Side], urls: list[URL], reset: Callable[[list[URL]], None]
) -> dict[str, float]:
    """Milliseconds per database, by side: the median of rounds that change their order."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for start in range(0, len(urls), ROUND):
        part = urls[start : start + ROUND]
        for name in random.sample(list(sides), len(sides)):
            reset(part)
            began = time.perf_counter()
            for url in part:
                sides[name](url)
            times[name].append((time.perf_counter() - began) / len(part) * 1000)
    return {name: statistics.median(found) for name, found in times.items()}


def show(title: str, found: dict[str, float], floor: str) -> None:
    print(f"\n{title}")
    for name, milliseconds in found.items():
        print(f"  {name:<34}{milliseconds:9.2f} ms  {milliseconds / found[floor]:8.2f} x")


def sql_of(project: Project, url: URL, start: str, target: str) -> list[str]:
    """The plain statements of an upgrade, for the bare driver."""
    from headway.connections.address import Address
    from headway.plan.plans import Direction
    from headway.plan.sql import Span, render

    span = Span(
        project=project,
        address=Address(url),
        x={},
        direction=Direction.UPGRADE,
        start=(start,),
        target=target,
    )
    lines = [line for line in render(span).splitlines() if not line.startswith("--")]
    statements = [one.strip() for one in "\n".join(lines).split(";")]
    return [one for one in statements if one and one not in ("BEGIN", "COMMIT")]


# --- SQLite ---------------------------------------------------------------------------------


def sqlite(folder: Path, files: int) -> None:
    scripts = write_project(folder / "twenty", 20)
    project = Project.load(str(scripts))
    old, target = folder / "old.db", "r020"
    project.at(old).upgrade("r010")
    urls = [URL.create("sqlite", database=str(folder / f"c{n}.db")) for n in range(files)]

    def reset(part: list[URL]) -> None:
        for url in part:
            shutil.copyfile(old, str(url.database))

    statements = sql_of(project, urls[0], "r010", target)

    def raw(url: URL) -> None:
        connection = sqlite3.connect(str(url.database), isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        for statement in statements:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.close()

    def headway(url: URL) -> None:
        project.at(url).upgrade()

    def alembic(url: URL) -> None:
        command.upgrade(alembics(scripts, url), "head")

    reset(urls[:1])
    headway(urls[0])  # the first run proves that the rest may be replayed
    found = measure(
        {"bare sqlite3": raw, "Headway": headway, "alembic upgrade": alembic}, urls, reset
    )
    show(f"SQLite: {files} files from revision 10 to 20 of 20", found, "bare sqlite3")
    same_schema(urls[0], headway, alembic, reset)

    sqlite_status(project, scripts, urls)
    for count in (20, 500):
        sqlite_create(folder, count, min(files, 100))


def sqlite_status(project: Project, scripts: Path, urls: list[URL]) -> None:
    def asked(url: URL) -> None:
        connection = sqlite3.connect(str(url.database))
        connection.execute("SELECT version_num FROM alembic_version").fetchall()
        connection.close()

    def status(url: URL) -> None:
        project.at(url).status()

    def current(url: URL) -> None:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            config = alembics(scripts, url)
            config.stdout = nowhere
            command.current(config)

    found = measure(
        {"bare sqlite3": asked, "Headway": status, "alembic current": current}, urls, lambda _: None
    )
    show(f"SQLite: status of {len(urls)} files", found, "bare sqlite3")


def same_schema(url: URL, one: Side, other: Side, reset: Callable[[list[URL]], None]) -> None:
    dumps = []
    for side in (one, other):
        reset([url])
        side(url)
        with contextlib.closing(sqlite3.connect(str(url.database))) as connection:
            dumps.append(connection.execute("SELECT * FROM sqlite_master ORDER BY name").fetchall())
    kept = [[(row[0], row[1], row[4]) for row in dump] for dump in dumps]
    print("  the same schema as Alembic's:", kept[0] == kept[1])


def sqlite_create(folder: Path, revisions: int, files: int) -> None:
    scripts = write_project(folder / f"p{revisions}", revisions)
    project = Project.load(str(scripts))
    template = folder / f"template{revisions}.db"
    project.at(template).create()
    urls = [URL.create("sqlite", database=str(folder / f"n{n}.db")) for n in range(files)]

    def reset(part: list[URL]) -> None:
        for url in part:
            Path(str(url.database)).unlink(missing_ok=True)

    def raw(url: URL) -> None:
        shutil.copyfile(template, str(url.database))
        with open(str(url.database), "rb+") as file:  # noqa: PTH123
            os.fsync(file.fileno())

    sides: dict[str, Side] = {
        "copyfile and fsync": raw,
        "Headway": lambda url: project.at(url).create(),
    }
    found = measure(sides, urls, reset)
    began = time.perf_counter()
    reset(urls[:1])
    command.upgrade(alembics(scripts, urls[0]), "head")
    found["alembic upgrade (once)"] = (time.perf_counter() - began) * 1000
    show(f"SQLite: a new file at head of {revisions} revisions", found, "copyfile and fsync")


# --- PostgreSQL -----------------------------------------------------------------------------


@contextlib.contextmanager
def databases(server: URL, count: int) -> Iterator[list[URL]]:
    urls = [server.set(database=f"headway_bench_{os.getpid()}_{n}") for n in range(count)]
    try:
        yield urls
    finally:
        for url in urls:
            dialect_of(url).drop(url)


def postgresql(folder: Path, count: int) -> None:
    scripts = write_project(folder / "pg", 20)
    project = Project.load(str(scripts))
    with servers.postgresql() as server, databases(server, count + 1) as (old, *urls):
        dialect = dialect_of(old)
        dialect.make(old)
        project.at(old).upgrade("r010")

        def reset(part: list[URL]) -> None:
            for url in part:
                dialect.drop(url)
                dialect.make(url, old)

        statements = sql_of(project, old, "r010", "r020")

        def raw(url: URL) -> None:
            with psycopg.connect(dsn(url)) as connection:
                for statement in statements:
                    connection.execute(statement)

        def headway(url: URL) -> None:
            project.at(url).upgrade()

        def alembic(url: URL) -> None:
            command.upgrade(alembics(scripts, url), "head")

        reset(urls[:1])
        headway(urls[0])
        sides: dict[str, Side] = {
            "bare psycopg": raw,
            "Headway": headway,
            "alembic upgrade": alembic,
        }
        found = measure(sides, urls, reset)
        show(f"PostgreSQL: {count} databases from revision 10 to 20 of 20", found, "bare psycopg")

        def asked(url: URL) -> None:
            with psycopg.connect(dsn(url)) as connection:
                connection.execute("SELECT version_num FROM alembic_version").fetchall()

        found = measure(
            {"bare psycopg": asked, "Headway": lambda url: project.at(url).status()},
            urls,
            lambda _: None,
        )
        show(f"PostgreSQL: status of {count} databases", found, "bare psycopg")
        postgresql_create(project, server, old, urls[:20])


def postgresql_create(project: Project, server: URL, old: URL, urls: list[URL]) -> None:
    project.at(old).upgrade()

    def reset(part: list[URL]) -> None:
        for url in part:
            dialect_of(url).drop(url)

    def raw(url: URL) -> None:
        with psycopg.connect(dsn(server), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{url.database}" TEMPLATE "{old.database}"')

    reset(urls[:1])
    project.at(urls[0]).create()  # builds the template
    found = measure(
        {"CREATE DATABASE … TEMPLATE": raw, "Headway": lambda url: project.at(url).create()},
        urls,
        reset,
    )
    show("PostgreSQL: a new database at head", found, "CREATE DATABASE … TEMPLATE")
    for name in dialect_of(old).named(old, "headway_template_"):
        dialect_of(old).drop(old.set(database=name))


def dsn(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--databases", type=int, default=100)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    args = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, SQLAlchemy {sa.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        if args.only != "postgresql":
            sqlite(Path(folder), args.files)
        if args.only != "sqlite":
            postgresql(Path(folder), args.databases)
    return 0


if __name__ == "__main__":
    sys.exit(main())
