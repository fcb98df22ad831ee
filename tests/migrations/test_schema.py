"""The catalog's schema: one head, which the models match, and every way up has its way down."""

from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.boot import alembic, headway
from app.errors import CatalogTorn
from app.extensions import db
from headway.errors import MigrationFailed, RepairRefused
from headway.execution.repair import Verdict
from tests.conftest import environment_for
from tests.migrations.conftest import HEAD, NOTHING, REVISIONS, Catalog, below, open_catalog
from tests.releases import make_release


def test_there_is_one_line_of_revisions(catalog: Catalog) -> None:
    with catalog.app.app_context():
        scripts = [script.revision for script in alembic.script_directory.walk_revisions()]
        heads = [script.revision for script in alembic.heads()]
    assert heads == [HEAD]
    assert sorted(scripts) == REVISIONS


def test_the_models_match_the_head(catalog: Catalog) -> None:
    catalog.up(HEAD)
    with catalog.app.app_context():
        assert alembic.compare_metadata() == []
        done = catalog.app.test_cli_runner().invoke(args=["db", "check"])
    assert done.exit_code == 0, done.output


def test_the_models_match_whatever_the_driver_calls_the_server(mariadb_url: URL) -> None:
    for catalog in open_catalog(mariadb_url.set(drivername="mariadb+pymysql")):
        catalog.up(HEAD)
        with catalog.app.app_context():
            assert alembic.compare_metadata() == []
        catalog.down("base")


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_downgrade_leaves_the_schema_as_it_was(catalog: Catalog, revision: str) -> None:
    if below(revision) != "base":
        catalog.up(below(revision))
    before = catalog.schema()
    catalog.up(revision)
    there = catalog.schema()
    assert (there == before) == ((revision, catalog.backend) in NOTHING)
    catalog.down(below(revision))
    assert catalog.schema() == before
    catalog.up(revision)
    assert catalog.schema() == there


def test_all_the_way_down_leaves_nothing(catalog: Catalog) -> None:
    catalog.up(HEAD)
    there = catalog.schema()
    catalog.down("base")
    assert catalog.schema() == {}
    catalog.up(HEAD)
    assert catalog.schema() == there


def test_a_new_revision_is_next_in_line_and_says_what_the_models_say(
    tmp_path: Path, template_copy: URL
) -> None:
    release, env = make_release(tmp_path / "release"), environment_for(template_copy)
    model = release.path / "app" / "models" / "accounts.py"
    field = "    name: Mapped[str] = mapped_column(String(128))\n"
    more = "    nickname: Mapped[str | None] = mapped_column(Unicode(64))\n"
    model.write_text(model.read_text().replace(field, field + more))
    done = release.run("flask", "db", "revision", "Accounts have a nickname", env=env)
    assert done.returncode == 0, done.stderr
    script = next(file for file in release.migrations.glob("c*.py") if "nickname" in file.name)
    for tidy in (("check", "--fix"), ("format",), ("check",)):
        done = release.run("ruff", *tidy, str(script), env=env)
    assert done.returncode == 0, done.stdout
    assert f'down_revision = "{HEAD}"' in script.read_text()
    assert release.boot(env).returncode == 0
    assert release.run("flask", "db", "check", env=env).returncode == 0


# --- a server without transactional DDL ----------------------------------------------------------


WRITES = {"CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE"}


class Crash(Exception):
    """What a process that dies between two statements looks like from inside."""


@pytest.mark.parametrize(
    "revision",
    # Nobody edits the older ones any more: a few of them each time.
    [
        pytest.param(one, marks=[] if number % 4 == 0 else [pytest.mark.thorough])
        for number, one in enumerate(reversed(REVISIONS))
    ],
)
def test_a_revision_that_breaks_anywhere_can_be_mended(mariadb_url: URL, revision: str) -> None:
    for catalog in open_catalog(mariadb_url):
        if below(revision) != "base":
            catalog.up(below(revision))
        before = catalog.schema()
        catalog.up(revision)
        there = catalog.schema()
        catalog.down(below(revision))
        broken = 0
        while _dies_after(catalog, revision, broken):
            _mend(catalog, whole=catalog.schema() == there)
            if _current(catalog) == [revision]:
                assert catalog.schema() == there
                catalog.down(below(revision))
            assert catalog.schema() == before, broken
            broken += 1
        assert broken > 1
        assert _current(catalog) == [revision]


def _mend(catalog: Catalog, *, whole: bool) -> None:
    """Take the half back; what is whole and cannot be taken back is said to be applied."""
    with catalog.app.app_context():
        try:
            plan = headway.database.plan_repair()
        except RepairRefused:
            assert whole
            plan = headway.database.plan_repair(Verdict.APPLIED)
        headway.database.repair(plan)


def _dies_after(catalog: Catalog, revision: str, statements: int) -> bool:
    """Upgrade by one revision, and die after so many writing statements; False if it lives."""
    left = statements

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        nonlocal left
        words = statement.split()
        if words[0] in WRITES and words[:3] != ["CREATE", "TABLE", "alembic_version"]:
            left -= 1
            if left < 0:
                raise Crash(statement)

    with catalog.app.app_context():
        connection = alembic.migration_context.connection
        assert connection is not None
        sa.event.listen(connection, "before_cursor_execute", count)
        try:
            alembic.upgrade(revision)
        except (CatalogTorn, MigrationFailed, RepairRefused):
            return True
        finally:
            db.engine.dispose()
    return False


def _current(catalog: Catalog) -> list[str]:
    with catalog.app.app_context():
        return [script.revision for script in alembic.current()]
