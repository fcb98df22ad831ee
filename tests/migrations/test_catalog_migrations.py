"""The catalog's revisions: on every database, up and down, with rows in the tables."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import alembic, db
from app.settings import MIGRATIONS
from tests.conftest import settings_for

REVISIONS = sorted(path.name.partition("_")[0] for path in MIGRATIONS.glob("c*.py"))


@pytest.fixture
def catalog(catalog_url: URL) -> Iterator[Flask]:
    app = create_app(settings_for(catalog_url), migrate=False)
    yield app
    with app.app_context():
        db.engine.dispose()


def go(app: Flask, target: str) -> None:
    with app.app_context():
        up = alembic.script_directory.get_revision(target)
        assert up
        current = {script.revision for script in alembic.current()}
    with app.app_context():
        if not current or max(current) < target:
            alembic.upgrade(target)
        else:
            alembic.downgrade(target)


def run(app: Flask, *statements: str) -> None:
    with app.app_context(), db.engine.connect().execution_options(write=True) as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
        connection.commit()


def rows(app: Flask, query: str) -> list[tuple[Any, ...]]:
    with app.app_context(), db.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def schema(app: Flask) -> dict[str, Any]:
    """The schema by reflection, but for the history, which stays when all else goes."""
    with app.app_context():
        inspector = sa.inspect(db.engine)
        return {
            table: {
                "columns": {
                    c["name"]: (str(c["type"]), c["nullable"], c["default"])
                    for c in inspector.get_columns(table)
                },
                "indexes": sorted(
                    (i["name"], tuple(i["column_names"]), bool(i["unique"]))
                    for i in inspector.get_indexes(table)
                ),
                "checks": sorted(str(c["name"]) for c in inspector.get_check_constraints(table)),
                "foreign": sorted(
                    (tuple(f["constrained_columns"]), f["referred_table"], str(f["options"]))
                    for f in inspector.get_foreign_keys(table)
                ),
            }
            for table in sorted(inspector.get_table_names())
            if table not in ("headway_history", "alembic_version")
        }


def test_there_is_one_head(catalog: Flask) -> None:
    with catalog.app_context():
        assert [script.revision for script in alembic.heads()] == [REVISIONS[-1]]


def test_the_models_match_the_head(catalog: Flask) -> None:
    go(catalog, REVISIONS[-1])
    with catalog.app_context():
        assert alembic.compare_metadata() == []


def test_every_downgrade_leaves_the_schema_as_it_was(catalog: Flask) -> None:
    before = [schema(catalog)]
    for revision in REVISIONS:
        go(catalog, revision)
        before.append(schema(catalog))
    for revision, expected in zip(reversed(REVISIONS[:-1]), reversed(before[:-1]), strict=False):
        go(catalog, revision)
        assert schema(catalog) == expected, revision
    with catalog.app_context():
        alembic.downgrade("base")
    assert schema(catalog) == {}
    go(catalog, REVISIONS[-1])
    assert schema(catalog) == before[-1]


# --- rows before -> rows after ------------------------------------------------------------------

ACCOUNT = "INSERT INTO account (id, name, {0}) VALUES ({1})"


@dataclass
class DataTest:
    """Rows put in before a revision, and what is to be there after it and after its downgrade."""

    before: list[str]
    query: str
    after: list[tuple[Any, ...]]
    query_down: str = "SELECT id FROM account ORDER BY id"
    down: list[tuple[Any, ...]] | Callable[[list[tuple[Any, ...]]], bool] | None = None


LONG = "2001:0db8:85a3:0000:0000:8a2e:192.168.100.200"
NAMED = "INSERT INTO account (id, name) VALUES (1, 'Zoë')"

DATA = {
    "c0001": DataTest([], "SELECT count(*) FROM account", [(0,)], "SELECT 1", [(1,)]),
    "c0002": DataTest(
        ["INSERT INTO account (id, name, description) VALUES (1, 'Zoë', 'Σ')"],
        "SELECT name, description, birthdate, email, ip_source, location FROM account",
        [("Zoë", "Σ", None, None, None, None)],
        "SELECT id, name, description FROM account",
        [(1, "Zoë", "Σ")],
    ),
    "c0003": DataTest(
        [
            "INSERT INTO account (id, name, ip_source) VALUES (1, 'a', '192.168.100.200'), (2, 'b', NULL)"
        ],
        "SELECT id, ip_source FROM account ORDER BY id",
        [(1, "192.168.100.200"), (2, None)],
        "SELECT id, ip_source FROM account ORDER BY id",
        [(1, "192.168.100.200"), (2, None)],
    ),
    "c0004": DataTest(
        [
            "INSERT INTO account (id, name, created, updated) VALUES "
            "(1, 'a', '2022-04-25 21:41:11', '2022-04-26 23:16:56'),"
            "(2, 'b', '2022-04-25 21:41:11', NULL), (3, 'c', NULL, NULL)"
        ],
        "SELECT id, created_at IS NULL, updated_at IS NULL, "
        "created_at < '2023-01-01', updated_at < '2023-01-01' FROM account ORDER BY id",
        [(1, 0, 0, 1, 1), (2, 0, 0, 1, 1), (3, 0, 0, 0, 0)],
        "SELECT id, created < '2023-01-01' FROM account ORDER BY id",
        [(1, 1), (2, 1), (3, 0)],
    ),
    "c0005": DataTest(
        [
            "INSERT INTO account (id, name, birthdate) VALUES "
            "(1, 'a', '1815-12-10 00:00:00'), (2, 'b', '1990-02-28 23:59:59'), (3, 'c', NULL)"
        ],
        "SELECT id, birthdate FROM account ORDER BY id",
        [(1, date(1815, 12, 10)), (2, date(1990, 2, 28)), (3, None)],
        "SELECT id, SUBSTR(CAST(birthdate AS CHAR(19)), 1, 19) FROM account ORDER BY id",
        [(1, "1815-12-10 00:00:00"), (2, "1990-02-28 00:00:00"), (3, None)],
    ),
    "c0006": DataTest(
        [NAMED],
        "SELECT name, role, version FROM account",
        [("Zoë", "viewer", 1)],
        "SELECT id, name FROM account",
        [(1, "Zoë")],
    ),
    "c0007": DataTest([NAMED], "SELECT count(*) FROM token", [(0,)], down=[(1,)]),
    "c0008": DataTest([NAMED], "SELECT count(*) FROM event", [(0,)], down=[(1,)]),
    "c0009": DataTest(
        [
            "INSERT INTO account (id, name, email) VALUES (1, 'a', ' Ada@Example.org'),"
            "(2, 'b', 'ada@example.org'), (3, 'c', ''), (4, 'd', '  '), (5, 'e', NULL),"
            "(6, 'f', 'ADA@EXAMPLE.ORG'), (7, 'g', 'Bob@example.org')"
        ],
        "SELECT id, email FROM account ORDER BY id",
        [
            *((1, "ada@example.org"), (2, None), (3, None), (4, None), (5, None), (6, None)),
            (7, "bob@example.org"),
        ],
        "SELECT id FROM account ORDER BY id",
        [(n,) for n in range(1, 8)],
    ),
    "c0010": DataTest([NAMED], "SELECT count(*) FROM idempotency_key", [(0,)], down=[(1,)]),
}


def plain(found: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The same rows whatever the driver makes of truth and dates."""

    def one(value: Any) -> Any:
        if isinstance(value, bool):
            return int(value)
        if isinstance(value, str) and len(value) == 10 and value[4] == value[7] == "-":
            return date.fromisoformat(value)
        return value

    return [tuple(one(value) for value in row) for row in found]


def test_every_revision_has_a_data_test() -> None:
    assert sorted(DATA) == REVISIONS


@pytest.mark.parametrize("revision", REVISIONS)
def test_no_row_is_lost_or_changed_unasked(catalog: Flask, revision: str) -> None:
    case = DATA[revision]
    before = REVISIONS[REVISIONS.index(revision) - 1] if revision != REVISIONS[0] else None
    if before:
        go(catalog, before)
        run(catalog, *case.before)
    go(catalog, revision)
    assert plain(rows(catalog, case.query)) == case.after
    if before:
        go(catalog, before)
        assert plain(rows(catalog, case.query_down)) == case.down


def test_who_loses_an_address_keeps_it_in_the_audit_trail(catalog: Flask) -> None:
    go(catalog, "c0008")
    run(catalog, *DATA["c0009"].before)
    go(catalog, "c0009")
    events = rows(catalog, "SELECT subject_id, action, detail FROM event ORDER BY subject_id")
    told = [
        (subject, action, (json.loads(d) if isinstance(d, str) else d)["email"])
        for subject, action, d in events
    ]
    assert told == [
        (2, "account.email_cleared", "ada@example.org"),
        (6, "account.email_cleared", "ada@example.org"),
    ]


def test_an_address_that_no_longer_fits_is_forgotten_not_cut(catalog: Flask) -> None:
    go(catalog, "c0003")
    run(
        catalog,
        f"INSERT INTO account (id, name, ip_source) VALUES (1, 'a', '{LONG}'), (2, 'b', '::1')",
    )
    go(catalog, "c0002")
    assert rows(catalog, "SELECT id, ip_source FROM account ORDER BY id") == [(1, None), (2, "::1")]


def test_two_accounts_cannot_have_one_address_afterwards(catalog: Flask) -> None:
    go(catalog, REVISIONS[-1])
    run(catalog, "INSERT INTO account (name, email) VALUES ('a', 'a@b.c')")
    with pytest.raises(sa.exc.IntegrityError):
        run(catalog, "INSERT INTO account (name, email) VALUES ('b', 'a@b.c')")


def test_the_server_fills_times_and_defaults(catalog: Flask) -> None:
    go(catalog, REVISIONS[-1])
    run(catalog, "INSERT INTO account (name) VALUES ('a')")
    query = "SELECT role, version, created_at IS NULL, updated_at IS NULL FROM account"
    assert plain(rows(catalog, query)) == [("viewer", 1, 0, 0)]
