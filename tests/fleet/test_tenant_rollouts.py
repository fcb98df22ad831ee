"""The story of many tenants of one database: whoever is not meant is left as he was, step by step.

`TENANTS=200` in the environment tells it with so many.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet import databases, rollouts
from app.fleet.core.selectors import Selector
from app.fleet.databases import import_sources
from app.fleet.refresh import refresh
from app.models import Database, Rollout, Run, Stage
from tests.fleet.fleets import ROOT, Fleet, fresh
from tests.fleet.test_arguments import RECIPE, at, use
from tests.migrator.making import rows, run
from tests.migrator.reference import pg_dump

COUNT = int(os.environ.get("TENANTS", "6"))
HEADER = re.compile(r"^-- Name: (.*); Type: [^;]+; Schema: ([^;]+);", re.MULTILINE)
NOISE = re.compile(r"--|SET |\\(un)?restrict ")
"""Comments, settings, and a key of newer versions of pg_dump: they belong to no schema."""
BAD = "t_0001"
"""In the second wave."""


def schemas_of(url: URL) -> dict[str, str]:
    """What the server's own tool writes of each schema."""
    place = f"postgresql://{url.username}@{url.host}:{url.port or 5432}/{url.database}"
    environment = {"PGPASSWORD": str(url.password or ""), "PATH": "/usr/bin:/bin"}
    said = subprocess.run(
        [pg_dump(), "-s", place], env=environment, check=True, capture_output=True, text=True
    ).stdout
    found: dict[str, str] = {}
    parts = HEADER.split(said)
    for thing, schema, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        name = thing if schema == "-" else schema
        lines = (line for line in text.splitlines() if line and not NOISE.match(line))
        found[name] = found.get(name, "") + "\n".join(lines)
    return found


@contextmanager
def touching(url: URL, *theirs: str) -> Iterator[None]:
    """The schemas that are not theirs are the same afterwards."""
    before = schemas_of(url)
    assert "CREATE TABLE public.everybodys" in before["public"]
    assert "CREATE TABLE stranger.alembic_version" in before["stranger"]
    yield
    assert changed(before, schemas_of(url)) <= set(theirs)


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {one for one in before.keys() | after if before.get(one) != after.get(one)}


@pytest.mark.parametrize("way", ["plain", "recipe"])
def test_each_step_touches_those_alone_that_it_is_for(
    fleet: Fleet, postgresql_url: URL, way: str
) -> None:
    url, text = postgresql_url, postgresql_url.render_as_string(hide_password=False)
    names = [f"t_{number:04}" for number in range(COUNT)]
    if way == "recipe":
        use(fleet, RECIPE, {"tenant": "{schema}"})
    run(
        url,
        "CREATE TABLE public.everybodys (id INT PRIMARY KEY)",
        *(f"CREATE SCHEMA {name}" for name in (*names, "stranger")),
        "CREATE TABLE stranger.alembic_version (version_num VARCHAR(32))",
    )

    with touching(url):
        rows_of_import = list(import_sources.from_schemas(text, names="t_*"))
        assert databases.register_many(ROOT, fleet.project_id, rows_of_import).added == COUNT
        assert refresh.refresh(fleet.project_id) == COUNT
    assert fleet.counts() == {("empty", ""): COUNT}

    with touching(url, *names):
        first = started(fleet, target="r001")
        fleet.drain()
    assert fleet.stage(first) is Stage.SUCCEEDED
    assert {stands(url, name) for name in names} == {"r001"}

    run(url, f"CREATE TABLE {BAD}.t2 (x INT)")
    before = schemas_of(url)
    rollout = started(fleet, waves=["1", "25%", "100%"])
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    assert those(fleet, rollout, "failed") == {BAD}
    done = those(fleet, rollout, "succeeded")
    assert changed(before, schemas_of(url)) == done
    assert names[0] in done
    assert those(fleet, rollout, "pending") >= set(names[len(names) // 2 :]), "the last wave"

    run(url, f"DROP TABLE {BAD}.t2")
    behind = {name for name in names if stands(url, name) == "r001"}
    assert behind == set(names) - done
    with touching(url, *behind, "t_new"):
        rollouts.resume_rollout(ROOT, rollout.id)
        created = created_meanwhile(fleet, text)
        fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert {stands(url, name) for name in (*names, "t_new")} == {"r003"}
    assert databases.get_database(ROOT, created.id).position == "at_head"

    with touching(url, *names):
        rollouts.undo_rollout(ROOT, rollout.id)
        fleet.drain()
    assert fleet.stage(rollout) is Stage.UNDONE
    assert {stands(url, name) for name in names} == {"r001"}
    assert stands(url, "t_new") == "r003"

    with touching(url, *names):
        again = started(fleet, waves=["100%"])
        fleet.drain()
    assert fleet.stage(again) is Stage.SUCCEEDED
    assert {stands(url, name) for name in (*names, "t_new")} == {"r003"}

    gone = names[-1]
    with touching(url, gone):
        database = databases.find_database(ROOT, gone)
        databases.drop_database(ROOT, database.id, confirm=gone)
    assert gone not in schemas_of(url)
    assert rows(url, "SELECT count(*) FROM public.everybodys") == [(0,)]
    fresh()
    assert len(databases.list_databases(ROOT, Selector(), limit=1000)[0]) == COUNT


def started(fleet: Fleet, **values: object) -> Rollout:
    return fleet.start(**{"retreat": False, "concurrency": 8, "per_server": 8, **values})


def those(fleet: Fleet, rollout: Rollout, state: str) -> set[str]:
    """The tenants whose run is in this state."""
    runs = fleet.runs_of(rollout, states=[state])
    return {databases.get_database(ROOT, run.database_id).name for run in runs}


def created_meanwhile(fleet: Fleet, text: str) -> Database:
    """A tenant that comes while others are migrated."""
    asked = {"project_id": fleet.project_id, "name": "t_new", "url": f"{text}?schema=t_new"}
    creation = databases.create_database(ROOT, asked)
    return databases.get_database(ROOT, creation.database_id)


def stands(url: URL, name: str) -> str:
    return "+".join(at(url, name))


def test_one_whose_table_is_locked_holds_no_other_up(fleet: Fleet, postgresql_url: URL) -> None:
    url, text = postgresql_url, postgresql_url.render_as_string(hide_password=False)
    names = [f"t_{number:04}" for number in range(4)]
    run(url, *(f"CREATE SCHEMA {name}" for name in names))
    rows_of_import = list(import_sources.from_schemas(text, names="t_*"))
    databases.register_many(ROOT, fleet.project_id, rows_of_import)
    refresh.refresh(fleet.project_id)
    started(fleet, target="r001")
    fleet.drain()
    held = names[1]
    with sa.create_engine(url, poolclass=sa.NullPool).connect() as application:
        application.exec_driver_sql(f"LOCK TABLE {held}.t1 IN ACCESS SHARE MODE")
        rollout = started(fleet)
        fleet.work()
        assert {stands(url, name) for name in names if name != held} == {"r003"}
        (waiting,) = fleet.runs_of(rollout, states=["pending"])
        assert (waiting.problem, waiting.attempt) == ("database-in-use", 2)
        assert stands(url, held) == "r001"
    with db.engine.begin() as connection:
        connection.execute(sa.update(Run).values(retry_at=datetime.now(UTC)))
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    assert stands(url, held) == "r003"
