"""kill -9 at any moment of an upgrade: the database says what it is, and comes to head whole.

`KILLS=50` tries as many moments on each kind of database; a run of the tests tries a few, and
`make thorough` some more.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway.project import Project
from headway.types import Position
from tests.migrator.making import make_project, rows, run, table, tables

KILLS = [3, pytest.param(int(os.environ.get("KILLS", "6")), marks=pytest.mark.thorough)]
UPGRADE = """
import sys
from headway.project import Project
database = Project.load(sys.argv[1]).at(sys.argv[2], replay=False)
database.status()
print("go", flush=True)
database.upgrade()
print("done", flush=True)
"""
PEOPLE = 200
BLOCK = """with op.get_context().autocommit_block():
    op.create_index("by_name", "person", ["name"], postgresql_concurrently=True)
    time.sleep(0.02)
    op.create_index("by_pet", "pet", ["owner"], postgresql_concurrently=True)
op.add_column("pet", sa.Column("age", sa.Integer))"""
REVISIONS = {
    "a": table("person"),
    "b": """op.create_table("pet", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("owner", sa.Integer), sa.Column("name", sa.String(50)))
time.sleep(0.02)
op.execute("INSERT INTO pet (id, owner, name) SELECT id, id, name FROM person")""",
    "c": """op.execute("UPDATE person SET name = CONCAT('p', id)")
time.sleep(0.02)
op.execute("UPDATE pet SET name = CONCAT('q', owner)")""",
    "d": BLOCK,
    "e": """with op.batch_alter_table("person", recreate="auto") as person:
    person.add_column(sa.Column("email", sa.String(50)))
    person.alter_column("name", existing_type=sa.String(50), nullable=False)
time.sleep(0.02)
op.execute("UPDATE person SET email = CONCAT(name, '@example.org')")""",
    "f": """op.create_table("visit", sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("pet", sa.Integer, sa.ForeignKey("pet.id")))
op.execute("INSERT INTO visit (id, pet) SELECT id, id FROM pet")
time.sleep(0.02)
op.create_index("by_visit", "visit", ["pet"])""",
    "g": """op.create_table("log", sa.Column("id", sa.Integer, primary_key=True))
op.bulk_insert(sa.table("log", sa.column("id")), [{"id": 1}, {"id": 2}])
time.sleep(0.02)
op.drop_index("by_pet", "pet")""",
}
SQLITE = {
    name: said.replace("CONCAT('p', id)", "'p' || id")
    .replace("CONCAT('q', owner)", "'q' || owner")
    .replace("CONCAT(name, '@example.org')", "name || '@example.org'")
    .replace("with op.get_context().autocommit_block():", "if True:")
    for name, said in REVISIONS.items()
}


def killable(folder: Path, backend: str) -> Project:
    """A project of seven revisions; the one that leaves its transaction only where that is wanted."""
    texts = SQLITE if backend == "sqlite" else REVISIONS
    if backend == "mariadb":
        texts = texts | {
            "d": BLOCK.replace("with op.get_context().autocommit_block():", "if True:")
        }
    return make_project(folder, **texts)


def fill(project: Project, url: URL) -> None:
    """A database at the first revision, with people in it."""
    project.at(url).upgrade("a")
    people = ", ".join(f"({number}, 'n{number}')" for number in range(1, PEOPLE + 1))
    run(url, f"INSERT INTO person (id, name) VALUES {people}")


def upgrade_for(project: Project, url: URL, seconds: float | None) -> float:
    """Upgrade in a process that is killed so long after it began; how long it lived."""
    typed = url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", UPGRADE, project.location, typed],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"go\n", process.communicate()
    began = time.monotonic()
    if seconds is None:
        assert process.stdout.readline() == b"done\n", process.communicate()
    else:
        time.sleep(seconds)
        process.kill()
    took = time.monotonic() - began
    process.communicate()
    return took


@pytest.mark.parametrize("kills", KILLS)
def test_a_process_killed_at_any_moment_leaves_what_can_be_brought_to_head(
    tmp_path: Path, backend: str, kills: int, fresh_url: Callable[..., URL]
) -> None:
    kill_often(killable(tmp_path / "one", backend), backend, kills, fresh_url)


@pytest.mark.parametrize("kills", KILLS)
def test_a_step_that_leaves_its_transaction_may_be_killed_on_sqlite_too(
    tmp_path: Path, kills: int, fresh_url: Callable[..., URL]
) -> None:
    project = make_project(tmp_path / "one", **SQLITE | {"d": BLOCK})
    kill_often(project, "sqlite", kills, fresh_url)


def kill_often(project: Project, backend: str, kills: int, fresh_url: Callable[..., URL]) -> None:
    """Kill upgrades at moments all over their time; each database is whole in the end."""
    lasts = time_it(project, fresh_url(backend))
    found: Counter[str] = Counter()
    for number in range(kills):
        url = fresh_url(backend)
        fill(project, url)
        # One in each part of the time, and a little beyond.
        moment = lasts * 1.05 * (number + random.random()) / kills
        upgrade_for(project, url, moment)
        database = project.at(url, lock_wait=20)
        settle(url, backend)
        seen = database.status()
        found[f"{seen.position} {seen.torn or '+'.join(seen.current)}"] += 1
        assert seen.position in (Position.BEHIND, Position.TORN, Position.AT_HEAD), seen
        database.repair()
        assert database.status().position in (Position.BEHIND, Position.AT_HEAD)
        database.upgrade()
        whole(url)
    print(f"\n{backend}: {kills} kills within {lasts:.2f} s: {dict(sorted(found.items()))}")


def time_it(project: Project, url: URL) -> float:
    fill(project, url)
    return upgrade_for(project, url, None)


def settle(url: URL, backend: str) -> None:
    """Wait until the server has noticed that its client is dead: until then it is at work."""
    query = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE db = DATABASE() "
        "AND id <> CONNECTION_ID()",
    }.get(backend)
    deadline = time.monotonic() + 20
    while query and rows(url, query) != [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def whole(url: URL) -> None:
    """At head, with every row, nothing twice and nothing of ours."""
    assert tables(url) == {"alembic_version", "person", "pet", "visit", "log"}
    people = rows(url, "SELECT id, name, email FROM person ORDER BY id")
    assert people == [(n, f"p{n}", f"p{n}@example.org") for n in range(1, PEOPLE + 1)]
    pets = rows(url, "SELECT id, owner, name, age FROM pet ORDER BY id")
    assert pets == [(n, n, f"q{n}", None) for n in range(1, PEOPLE + 1)]
    assert rows(url, "SELECT count(*) FROM visit") == [(PEOPLE,)]
    assert rows(url, "SELECT id FROM log ORDER BY id") == [(1,), (2,)]
    assert rows(url, "SELECT version_num FROM alembic_version") == [("g",)]
