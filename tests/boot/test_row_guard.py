"""No row of a SQLite database goes missing unannounced."""

from collections.abc import Callable

import pytest
from sqlalchemy.engine import URL

from tests.boot.conftest import execute, refused, rows, state
from tests.conftest import environment_for
from tests.releases import HEAD, Release

PARENTS = (
    "CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT)",
    "CREATE TABLE child (id INTEGER PRIMARY KEY, parent_id INTEGER NOT NULL "
    "REFERENCES parent (id) ON DELETE CASCADE)",
    "INSERT INTO parent VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO child VALUES (1, 1), (2, 1), (3, 2)",
)
REBUILD = """with op.batch_alter_table("parent", recreate="always") as parent:
    parent.alter_column("name", type_=sa.String(40), nullable=False)"""


@pytest.fixture
def family(booted: Callable[[str], URL]) -> URL:
    url = booted("sqlite")
    execute(url, *PARENTS)
    return url


def test_rebuilding_a_parent_keeps_every_child(release: Release, family: URL) -> None:
    release.add("c0115", HEAD, REBUILD)
    assert release.boot(environment_for(family)).returncode == 0
    assert rows(family, "SELECT id, parent_id FROM child") == [(1, 1), (2, 1), (3, 2)]
    assert rows(family, "SELECT name FROM parent") == [("a",), ("b",)]


def test_plain_alembic_would_have_deleted_them(release: Release, family: URL) -> None:
    """The reason for the guard, kept true: without it the children go without a word."""
    release.add("c0115", HEAD, REBUILD)
    plain = (
        "from app import create_app; from app.boot import alembic; from app.extensions import db\n"
        "from sqlalchemy import event\n"
        "app = create_app(migrate=False)\n"
        "app.extensions.pop('headway.seams')\n"
        "with app.app_context():\n"
        "    alembic.upgrade()"
    )
    assert release.run("python", "-c", plain, env=environment_for(family)).returncode == 0
    assert rows(family, "SELECT count(*) FROM child") == [(0,)]


def test_a_revision_that_loses_rows_is_refused_before_the_commit(
    release: Release, family: URL
) -> None:
    release.add("c0115", HEAD, "op.execute('DELETE FROM child WHERE id > 1')")
    before = state(family)
    said = refused(release, family, 1)
    assert "Revision c0115 loses rows: 2 of child. Nothing was changed." in said
    assert "loses_rows = ('child',)" in said
    assert state(family) == before


def test_a_revision_that_says_so_may_lose_rows(release: Release, family: URL) -> None:
    up = "op.execute('DELETE FROM child WHERE id > 1')"
    release.add("c0115", HEAD, up, extra='loses_rows = ("child",)')
    assert release.boot(environment_for(family)).returncode == 0
    assert rows(family, "SELECT id FROM child") == [(1,)]


def test_what_it_says_of_one_table_does_not_hold_for_another(release: Release, family: URL) -> None:
    up = "op.execute('DELETE FROM child')\nop.execute('DELETE FROM parent')"
    release.add("c0115", HEAD, up, extra='loses_rows = ("child",)')
    assert "2 of parent" in refused(release, family, 1)


def test_dropping_a_table_by_its_name_says_it_plainly(release: Release, family: URL) -> None:
    release.add("c0115", HEAD, 'op.drop_table("child")')
    assert release.boot(environment_for(family)).returncode == 0


def test_a_revision_that_leaves_orphans_is_refused(release: Release, family: URL) -> None:
    up = "op.execute('UPDATE child SET parent_id = 77 WHERE id = 1')"
    release.add("c0115", HEAD, up)
    before = state(family)
    assert "1 rows of child would point at rows of parent" in refused(release, family, 1)
    assert state(family) == before


def test_orphans_that_were_there_before_do_not_count(release: Release, family: URL) -> None:
    execute(family, "INSERT INTO child VALUES (9, 99)")
    release.add("c0115", HEAD, REBUILD)
    assert release.boot(environment_for(family)).returncode == 0
    assert rows(family, "SELECT count(*) FROM child") == [(4,)]
