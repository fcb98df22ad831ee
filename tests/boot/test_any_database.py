"""Any database of any project is brought to head by `headway.boot`, as the catalog is."""

from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway import Project, errors
from headway.boot import Progress, Words, bring_to_head
from headway.history import Entry
from headway.status import Evidence, status_of
from headway.types import Position
from tests.migrator.scripts import write_project


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    return write_project(tmp_path / "five", 5)


def test_an_empty_database_is_brought_to_head_and_then_left_alone(
    scripts: Path, catalog_url: URL
) -> None:
    told: list[Progress] = []
    booted = bring_to_head(scripts, catalog_url, report=told.append, release="2.1")
    assert booted.before.position is Position.EMPTY
    assert booted.after.position is Position.AT_HEAD
    assert [one.revision for one in told if one.state == "migrating"] == [
        f"{n} of 5" for n in range(1, 6)
    ]
    rows = Project.load(scripts).at(catalog_url).history()
    assert {(row.action, row.outcome, row.release) for row in rows} == {
        ("upgrade", "succeeded", "2.1")
    }
    told.clear()
    engine = sa.create_engine(catalog_url)
    assert bring_to_head(scripts, engine, report=told.append).before == replace(
        booted.after, milliseconds=pytest.approx(0, abs=1e5)
    )
    assert not told


def test_one_without_a_version_is_adopted_once_however_many_compare(
    scripts: Path, catalog_url: URL
) -> None:
    database = Project.load(scripts).at(catalog_url, history=True)
    database.upgrade(database.project.revisions[2].id)
    engine = sa.create_engine(catalog_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
        connection.exec_driver_sql("DROP TABLE headway_history")
    engine.dispose()
    assert database.status().position is Position.UNSTAMPED
    bring_to_head(scripts, catalog_url)
    actions = [row.action for row in database.history()]
    assert actions == ["adopt", "upgrade", "upgrade"]
    assert database.adopt().revisions == database.project.heads, "it is left alone"


def test_refusals_name_the_programs_own_commands_and_settings(
    scripts: Path, sqlite_url: URL
) -> None:
    class ShopBehind(errors.DatabaseBehind):
        """Ours."""

    words = Words(
        subject="the shop's database",
        commands={"upgrade": "shop migrate"},
        settings={"migrate": "SHOP_MIGRATE"},
        errors={errors.DatabaseBehind: ShopBehind},
    )
    with pytest.raises(ShopBehind) as refused:
        bring_to_head(scripts, sqlite_url, migrate=False, words=words)
    assert str(refused.value).startswith("The shop's database is empty")
    assert "SHOP_MIGRATE is off. Run `shop migrate`" in str(refused.value)
    assert not Path(str(sqlite_url.database)).exists()


def test_a_newer_one_is_served_or_refused(scripts: Path, catalog_url: URL) -> None:
    bring_to_head(scripts, catalog_url)
    newest = max(
        scripts.rglob("*.py"), key=lambda file: file.name if "env" not in file.name else ""
    )
    newest.unlink()
    assert bring_to_head(scripts, catalog_url).after.position is Position.AHEAD
    with pytest.raises(errors.DatabaseAhead, match="which a newer release brought"):
        bring_to_head(scripts, catalog_url, on_newer="refuse")


# --- the one answer -------------------------------------------------------------------------------


def applied(*revisions: str, action: str = "upgrade") -> list[Entry]:
    return [
        Entry(revision=one, action=action, outcome="succeeded", checksum=None) for one in revisions
    ]


@pytest.mark.parametrize(
    ("seen", "sole", "position"),
    [
        (Evidence(tables=()), False, Position.EMPTY),
        (Evidence(tables={"theirs"}), False, Position.EMPTY),
        (Evidence(tables={"theirs"}), True, Position.UNSTAMPED),
        (Evidence(tables={"ours"}), False, Position.UNSTAMPED),
        (Evidence(tables={"alembic_version", "headway_history"}), True, Position.EMPTY),
        (
            Evidence(tables={"ours"}, history=[*applied("a"), *applied("a", action="downgrade")]),
            True,
            Position.EMPTY,
        ),
        (Evidence(tables={"ours"}, history=applied("a")), True, Position.UNSTAMPED),
        (Evidence(versions=("x",), tables={"ours"}), False, Position.AHEAD),
        (Evidence(versions=("x",), tables={"ours"}), True, Position.FOREIGN),
        (Evidence(versions=("x",), tables={"theirs"}), False, Position.FOREIGN),
        (Evidence(versions=("x",), tables=(), history=applied("x")), True, Position.AHEAD),
        (Evidence(versions=("x",)), False, Position.AHEAD),
        (Evidence(versions=("x", "b")), False, Position.DIVERGED),
        (Evidence(versions=("a",)), False, Position.BEHIND),
        (Evidence(versions=("b",)), False, Position.AT_HEAD),
        (Evidence(versions=("b",), history=applied("b"), leftovers=("t",)), True, Position.TORN),
    ],
)
def test_a_position_follows_from_what_was_read(
    seen: Evidence, sole: bool, position: Position
) -> None:
    class Two:
        heads = ("b",)
        ids = frozenset({"a", "b"})

        def ancestors(self, ids: object) -> set[str]:
            below = {"b": {"a", "b"}}
            return set().union(*(below.get(one, {one}) for one in ids))  # type: ignore[attr-defined]

        def checksum_of(self, revision: str) -> None:  # noqa: ARG002
            return None

        def pending(self, current: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(sorted(self.ids - self.ancestors(current)))

    found = status_of(Two(), seen, names=lambda table: table == "ours", sole=sole)
    assert found.position is position
