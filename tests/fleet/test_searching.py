"""A search by a part of a name or address: the index of trigrams finds what reading all finds."""

import random
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.fleet import databases
from app.fleet.core.selectors import Selector
from app.fleet.core.transactions import writing
from app.fleet.counts import positions
from app.fleet.databases import Order, count_databases, sorted_databases, trigrams
from app.models import Database
from app.settings import MIGRATIONS
from headway import Project
from headway.errors import ObjectsLost
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT, project_at
from tests.fleet.fleets import Fleet
from tests.migrations.conftest import HEAD
from tests.migrator.scripts import write_project, write_revision

LETTERS = "aAbzZ09 ÉéİIßẞKkÅΣς%_/\\'\"*-^().:{}田🚂\u0131\u017f\u03c3\u0301\u200d"
MOST = 6


@pytest.fixture
def many(fleet_here: Flask, tmp_path: Path) -> list[str]:
    """Names of letters that databases, or their indexes, may take for others."""
    chance = random.Random(8)
    names = ["".join(chance.choices(LETTERS, k=chance.randint(1, 9))) for _ in range(40)]
    names = [*dict.fromkeys(names), "Straße", "STRASSE", "İstanbul", "istanbul", "ÉCOLE", "école"]
    shop = project_at(write_project(tmp_path / "scripts", 1))
    rows = [
        {"project_id": shop, "name": name, "address": f"sqlite:////data/{name}.db"}
        for name in names
    ]
    with writing() as session:
        session.execute(sa.insert(Database), rows)
        fifth = sa.update(Database).where(Database.id % 5 == 0)
        session.execute(fifth.values(retired_at=sa.func.now()))
        positions.recount(session, [shop])
    return names


def parts_of(names: list[str]) -> set[str]:
    """Texts that some have, none have, all have, and few; in small letters and in capitals."""
    chance = random.Random(9)
    found = {
        "data",
        "sqlite",
        "",
        "a",
        "éc",
        "ß.d",
        "strasse",
        "straße",
        "xyzzy",
        '"',
        '"""',
        "%%%",
    }
    found |= {"___", "OR ", "NEAR(", "sought:", "ab*", "ab\0", "\0\0\0", "z" * 300}
    for name in names:
        text = f"{name} sqlite:////data/{name}.db"
        start = chance.randrange(len(text))
        part = text[start : start + chance.randint(1, 7)]
        found |= {part, part.upper(), part.lower(), part.swapcase()}
    return found


def test_both_ways_find_the_same(many: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trigrams, "MOST", MOST)
    asked = [0, 0]
    for part in parts_of(many):
        for retired in (False, True):
            chosen = Selector(search=part or None)
            read = sa.select(Database).where(*chosen.conditions(retired=retired))
            ids = [one.id for one in db.session.scalars(read.order_by(Database.id))]
            how = {"limit": 200, "retired": retired}
            assert [one.id for one in databases.list_databases(ROOT, chosen, **how)[0]] == ids, part  # type: ignore[arg-type]
            by_name, _ = sorted_databases(ROOT, chosen, order=Order.NAME, **how)  # type: ignore[arg-type]
            assert sorted(one.id for one in by_name) == ids, part
            assert count_databases(ROOT, chosen, retired=retired) == len(ids)
        hits = trigrams.first_with(part)
        assert (hits is None) == (len(part) < trigrams.SHORTEST or "\0" in part), part
        if hits is not None:
            assert len(hits) == min(count_all(part), MOST), "it finds no more either"
            asked[len(hits) == MOST] += bool(hits)
    assert min(asked) > 10, "both with few and with many"


def count_all(part: str) -> int:
    return sum(
        count_databases(ROOT, Selector(search=part), retired=retired) or 0
        for retired in (False, True)
    )


def in_step() -> None:
    """Raise an error unless the index has what the databases have, and no more."""
    with writing() as session:
        session.execute(
            sa.text(
                "INSERT INTO database_search (database_search, rank) VALUES ('integrity-check', 1)"
            )
        )


def test_the_index_goes_along_with_each_change(fleet: Fleet) -> None:
    one = fleet.add("first")
    assert trigrams.first_with("FIRST") == [one.id]
    values = {"name": "second", "url": f"sqlite:///{fleet.folder}/third.db"}
    databases.change_database(ROOT, one.id, values, version=None)
    assert (trigrams.first_with("first"), trigrams.first_with("second")) == ([], [one.id])
    assert trigrams.first_with("third.db") == [one.id]
    two = fleet.add("two")
    databases.retire_database(ROOT, one.id, version=None)
    assert count_databases(ROOT, Selector(search="third.db")) == 0
    assert count_databases(ROOT, Selector(search="third.db"), retired=True) == 1
    in_step()
    with writing() as session:
        session.execute(sa.delete(Database).where(Database.id == two.id))
    assert trigrams.first_with("two") == []
    in_step()
    db.session.execute(sa.text("DROP TRIGGER database_search_insert"))
    db.session.commit()
    fleet.add("unseen")
    with pytest.raises(sa.exc.DatabaseError, match="malformed"):
        in_step()


def test_a_catalog_without_the_index_is_searched_too(many: list[str]) -> None:
    before = count_all("straße")
    for name in ("insert", "update", "delete"):
        db.session.execute(sa.text(f"DROP TRIGGER database_search_{name}"))
    db.session.execute(sa.text("DROP TABLE database_search"))
    db.session.commit()
    assert trigrams.first_with("straße") is None
    assert count_all("straße") == before == 1


def test_a_later_revision_that_copies_the_table_may_not_lose_the_triggers(
    template_copy: URL, tmp_path: Path
) -> None:
    release = copytree(MIGRATIONS, tmp_path / "migrations")
    copy = ("CREATE TABLE other AS SELECT * FROM database", "DROP TABLE database")
    copied = [f"op.execute({one!r})" for one in (*copy, "ALTER TABLE other RENAME TO database")]
    (tmp_path / "versions").mkdir()
    write_revision(tmp_path, "c9999", HEAD, copied).rename(release / "c9999_more.py")
    with pytest.raises(ObjectsLost, match=r"trigger database_search_insert of database"):
        Project.load(release).at(template_copy, history=True).upgrade()


def test_postgresql_goes_along_its_index(migrated: Callable[[str], URL]) -> None:
    with create_app(settings_for(migrated("postgresql"))).app_context():
        _, has_part = trigrams.conditions(Selector(search="customer-7"))
        query = str(
            sa.select(Database.id)
            .where(has_part)
            .compile(db.engine, compile_kwargs={"literal_binds": True})
        )
        db.session.execute(sa.text("SET LOCAL enable_seqscan = off"))  # it has no rows
        plan = db.session.execute(sa.text(f"EXPLAIN {query.replace('%%', '%')}")).scalars().all()
        assert "ix_database_sought" in str(plan)
        db.session.remove()
        db.engine.dispose()
