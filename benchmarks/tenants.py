"""A thousand schemas of one PostgreSQL database: upgraded, and registered by one import.

    python benchmarks/tenants.py
    python benchmarks/tenants.py --tenants 200 --only upgrade

Every side brings the same schemas from revision 10 to 20 of 20, in this one process, one after the
other, in rounds that change the order of the sides; a schema is made anew before each. psycopg
sends the statements that Headway and Alembic send, under `SET search_path`: over a connection for
each tenant, as Headway does with a URL, or over one for all, as Headway does with one that is lent.
Times are per tenant; the ratios are what counts.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import sqlalchemy as sa
from alembic import command
from sqlalchemy.engine import URL

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from app.fleet import databases
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import writing
from app.fleet.databases import import_sources
from app.models import Database, Label, PositionCount, Role
from benchmarks.fleet import Side, alembics, dsn, measure, show, sql_of
from headway.dialects.urls import DatabaseURL
from headway.project import Project
from tests import servers
from tests.conftest import database_on
from tests.fleet.fleets import fleet_on
from tests.migrator.scripts import write_project

ME = Actor(id=None, name="benchmark", role=Role.ADMIN)
TIMES = 5
MADE = "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns"


class Tenants:
    """The schemas of one database, and who upgrades them."""

    def __init__(self, url: URL, folder: Path, count: int) -> None:
        self.url = DatabaseURL.of(url)
        self.scripts = write_project(folder / "twenty", 20)
        self.project = Project.load(str(self.scripts))
        self.urls: list[URL] = [self.url.in_schema(f"tenant_{n:04}") for n in range(count)]
        self.old = sql_of(self.project, url, "base", "r010")
        self.new = sql_of(self.project, url, "r010", "r020")
        self.raw = psycopg.connect(dsn(url))
        """What makes schemas anew, and nothing that is measured."""
        # Statements that it prepares are planned anew for each search_path: slower than plain ones.
        self.one = psycopg.connect(dsn(url), prepare_threshold=None)
        self.connection = sa.create_engine(url).connect()

    def close(self) -> None:
        self.raw.close()
        self.one.close()
        self.connection.close()
        self.connection.engine.dispose()

    def reset(self, part: list[URL]) -> None:
        """At revision 10."""
        for url in part:
            name = schema(url)
            self.raw.execute(f"DROP SCHEMA IF EXISTS {name} CASCADE")
            self.raw.execute(f"CREATE SCHEMA {name}")
            send(self.raw, name, self.old)
        self.raw.execute("RESET search_path")
        self.raw.commit()

    def sides(self) -> dict[str, Side]:
        """Each brings one tenant from revision 10 to 20."""

        def psycopgs(url: URL) -> None:
            with psycopg.connect(dsn(self.url)) as raw:
                send(raw, schema(url), self.new)

        def psycopgs_one(url: URL) -> None:
            send(self.one, schema(url), self.new)

        def lent(url: URL) -> None:
            self.connection.exec_driver_sql(f"SET search_path = {schema(url)}")
            self.connection.commit()
            self.project.at(self.connection).upgrade()

        def alembic(url: URL) -> None:
            command.upgrade(alembics(self.scripts, url), "head")

        return {
            "psycopg, a connection each": psycopgs,
            "Headway, a connection each": lambda url: self.project.at(url).upgrade(),
            "psycopg, one connection": psycopgs_one,
            "Headway, one connection lent": lent,
            "alembic upgrade": alembic,
        }

    def made(self, url: URL) -> list[tuple[object, ...]]:
        """The columns of a tenant."""
        found = self.raw.execute(f"{MADE} WHERE table_schema = '{schema(url)}' ORDER BY 1, 2")
        rows = found.fetchall()
        self.raw.commit()
        return rows


def schema(url: URL) -> str:
    return str(DatabaseURL.of(url).schema)


def send(raw: psycopg.Connection, name: str, statements: list[str]) -> None:
    raw.execute(f"SET search_path = {name}")
    for statement in statements:
        raw.execute(statement)
    raw.commit()


def upgrade(tenants: Tenants) -> None:
    sides, first = tenants.sides(), tenants.urls[:1]
    made = []
    for side in sides.values():  # the first of Headway proves that the rest may be replayed
        tenants.reset(first)
        side(first[0])
        made.append(tenants.made(first[0]))
    found = measure(sides, tenants.urls, tenants.reset)
    title = f"{len(tenants.urls)} tenants of one database from revision 10 to 20 of 20"
    each, one = list(sides)[:2], list(sides)[2:4]
    show(f"{title}, a connection each", {n: found[n] for n in (*each, "alembic upgrade")}, each[0])
    show(f"{title}, one connection", {n: found[n] for n in one}, one[0])
    print("  the same columns on all sides:", all(one == made[0] for one in made))


def register(tenants: Tenants, catalog: URL) -> None:
    """By one import, and by the same once more."""
    text = DatabaseURL.of(tenants.url).text()
    first: list[float] = []
    again: list[float] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        fleet_on(catalog, Path(folder), revisions=1, log_level="warning") as fleet,
    ):
        for _ in range(TIMES):
            for times, added in ((first, len(tenants.urls)), (again, 0)):
                began = time.perf_counter()
                rows = import_sources.from_schemas(
                    text, names="tenant_*", labels="_(?P<shard>[0-9])"
                )
                done = databases.register_many(ME, fleet.project_id, rows)
                times.append(time.perf_counter() - began)
                assert (done.added, done.refused) == (added, [])
            forget()
    print(f"\n{len(tenants.urls)} schemas by one import, catalog on {catalog.get_backend_name()}")
    for name, times in (("registered", first), ("once more, all known", again)):
        print(f"  {name:<34}{statistics.median(times):9.2f} s")


def forget() -> None:
    with writing() as session:
        for model in (Label, PositionCount, Database):
            session.execute(sa.delete(model))


def command_line(tenants: Tenants) -> None:
    """The same as a command of its own, its start and the reading of its catalog included."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        variables = {"HEADWAY_DATABASE_URL": f"sqlite:///{place}/catalog.sqlite"}
        variables |= {"HEADWAY_PROJECT_ROOTS": str(tenants.scripts.parent)}

        def flask(*words: str) -> None:
            subprocess.run(
                [sys.executable, "-m", "flask", "--app", "wsgi", *words],
                cwd=Path(__file__).parent.parent,
                env=os.environ | variables,
                input=tenants.url.text(),
                text=True,
                check=True,
                capture_output=True,
            )

        flask("db", "upgrade")
        flask("projects", "create", "shop", str(tenants.scripts))
        found = ("databases", "import", "--project", "shop", "--server-file", "-")
        for name, words in (
            ("as a command, with its start", (*found, "--schemas", "tenant_*")),
            ("a command that only starts", ("projects", "list")),
        ):
            began = time.perf_counter()
            flask(*words)
            print(f"  {name:<34}{time.perf_counter() - began:9.2f} s")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tenants", type=int, default=1000)
    parser.add_argument("--only", choices=["upgrade", "register"])
    args = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, SQLAlchemy {sa.__version__}")
    with (
        tempfile.TemporaryDirectory() as folder,
        servers.postgresql() as server,
        database_on(server) as url,
        database_on(server) as catalog,
    ):
        tenants = Tenants(url, Path(folder), args.tenants)
        try:
            if args.only != "register":
                upgrade(tenants)
            else:
                tenants.reset(tenants.urls)
            if args.only != "upgrade":
                register(tenants, catalog)
                register(tenants, URL.create("sqlite", database=f"{folder}/catalog.sqlite"))
                command_line(tenants)
        finally:
            tenants.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
