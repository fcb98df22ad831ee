"""What is replayed is what would have run; what looks at its database runs as Python."""

from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway import Project, errors
from headway.database import Database
from tests.migrator.making import run
from tests.migrator.scripts import write_revision

T = 'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), sa.Column("n", sa.Integer))'


def two(project: Project, make: object, backend: str) -> tuple[Database, Database]:
    one, other = (project.at(make(backend)) for _ in range(2))  # type: ignore[operator]
    for database in (one, other):
        database.upgrade("first")
    return one, other


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
def test_the_second_database_is_replayed_with_the_same_schema(
    backend: str, project: Project, fresh_url: object
) -> None:
    one, other = (project.at(fresh_url(backend)) for _ in range(2))  # type: ignore[operator]
    for database in (one, other):
        database.upgrade("r001")
    assert one.plan().replays is None
    assert not one.upgrade().replayed
    assert other.plan().replays is True
    assert other.upgrade().replayed
    assert other.status().current == ("r005",)
    assert other.check().is_clean
    assert not other.downgrade("r002").replayed
    assert one.downgrade("r002").replayed


def test_told_not_to_it_runs_python(project: Project, fresh_url: object) -> None:
    for _ in range(2):
        database = project.at(fresh_url("sqlite"), replay=False)  # type: ignore[operator]
        database.upgrade("r001")
        assert not database.upgrade().replayed
        assert database.plan().why == "replaying is switched off"


@pytest.mark.parametrize(
    ("up", "why"),
    [
        (
            ["op.get_bind().execute(sa.text('SELECT count(*) FROM t')).scalar()"],
            "asks the database",
        ),
        (
            ["op.execute(f\"INSERT INTO t (n) VALUES ({__import__('random').randrange(10**9)})\")"],
            "the moment",
        ),
        (
            ["op.bulk_insert(sa.table('t', sa.column('n')), [{'n': 1}, {'n': 2}])"],
            "without a database",
        ),
    ],
)
def test_what_depends_on_its_database_is_never_replayed(
    scripts: Path, fresh_url: object, up: list[str], why: str
) -> None:
    write_revision(scripts, "first", None, [T])
    write_revision(scripts, "second", "first", up)
    one, other = two(Project.load(scripts), fresh_url, "sqlite")
    assert not one.upgrade().replayed
    assert other.plan().replays is False
    assert why in other.plan().why
    assert not other.upgrade().replayed
    assert other.status().current == ("second",)


def test_constants_with_percent_signs_and_quotes_survive(scripts: Path, fresh_url: object) -> None:
    write_revision(scripts, "first", None, [T])
    write_revision(
        scripts,
        "second",
        "first",
        [
            "op.add_column('t', sa.Column('s', sa.String(40), server_default=\"100% o'clock; :x\"))",
            "op.execute(sa.table('t', sa.column('n', sa.Integer)).insert().values(n=7))",
        ],
    )
    for backend in ("sqlite", "postgresql"):
        one, other = two(Project.load(scripts), fresh_url, backend)
        one.upgrade()
        assert other.upgrade().replayed
        with other.operations() as op:
            rows = op.get_bind().exec_driver_sql("SELECT n, s FROM t").all()
        assert [tuple(row) for row in rows] == [(7, "100% o'clock; :x")]


def test_a_replay_that_breaks_leaves_nothing(scripts: Path, fresh_url: object) -> None:
    write_revision(scripts, "first", None, [T])
    write_revision(
        scripts,
        "second",
        "first",
        [
            "op.add_column('t', sa.Column('extra', sa.Integer))",
            "op.create_index('ux', 't', ['n'], unique=True)",
        ],
    )
    for backend in ("sqlite", "postgresql"):
        one, other = two(Project.load(scripts), fresh_url, backend)
        one.upgrade()
        run(
            other.address.url,
            "INSERT INTO t (id, n) VALUES (1, 1)",
            "INSERT INTO t (id, n) VALUES (2, 1)",
        )
        with pytest.raises(errors.MigrationFailed, match="second"):
            other.upgrade()
        assert other.status().current == ("first",)
        assert other.check().is_clean


def test_a_replay_that_loses_rows_is_refused(scripts: Path, fresh_url: object) -> None:
    write_revision(scripts, "first", None, [T])
    write_revision(scripts, "second", "first", ["op.execute('DELETE FROM t WHERE n = 1')"])
    one, other = two(Project.load(scripts), fresh_url, "sqlite")
    one.upgrade()
    run(other.address.url, "INSERT INTO t (id, n) VALUES (1, 1)")
    assert other.plan().replays is True
    with pytest.raises(errors.RowsLost, match="1 of t"):
        other.upgrade()
    assert other.status().current == ("first",)


TRIGGER = "CREATE TRIGGER only_one AFTER INSERT ON u BEGIN DELETE FROM t; END"


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_replay_that_loses_rows_by_a_trigger_is_refused(
    scripts: Path, fresh_url: object, by_hand: bool
) -> None:
    """It inserts, and nothing else; the trigger was there before, or one of its revisions made it.

    In the first database there was no row to be lost.
    """
    u = 'op.create_table("u", sa.Column("id", sa.Integer, primary_key=True))'
    write_revision(scripts, "first", None, [T, u])
    made = "pass" if by_hand else f"op.execute({TRIGGER!r})"
    write_revision(scripts, "second", "first", [made])
    write_revision(scripts, "third", "second", ["op.execute('INSERT INTO u (id) VALUES (1)')"])
    one, other = two(Project.load(scripts), fresh_url, "sqlite")
    one.upgrade()
    run(other.address.url, "INSERT INTO t (id, n) VALUES (1, 1)")
    if by_hand:
        run(other.address.url, TRIGGER)
    assert other.plan().replays is True
    with pytest.raises(errors.RowsLost, match="1 of t"):
        other.upgrade()
    assert other.status().current == ("first",)


def test_a_replay_counts_tables_whose_names_begin_like_sqlites_own(
    scripts: Path, fresh_url: object
) -> None:
    """`sqlitedata` is a team's; only `sqlite_` is kept for SQLite."""
    made = 'op.create_table("sqlitedata", sa.Column("id", sa.Integer, primary_key=True))'
    write_revision(scripts, "first", None, [made])
    write_revision(scripts, "second", "first", ["op.execute('DELETE FROM sqlitedata')"])
    one, other = two(Project.load(scripts), fresh_url, "sqlite")
    one.upgrade()
    run(other.address.url, "INSERT INTO sqlitedata (id) VALUES (1)")
    assert other.plan().replays is True
    with pytest.raises(errors.RowsLost, match="1 of sqlitedata"):
        other.upgrade()


def test_a_replay_that_breaks_a_foreign_key_that_it_made_is_refused(
    scripts: Path, fresh_url: object
) -> None:
    """Before it there was none, so that nothing was looked for."""
    write_revision(scripts, "first", None, [T])
    child = 'op.execute("CREATE TABLE c (id INTEGER PRIMARY KEY, t_id INTEGER references t (id))")'
    row = "op.execute('INSERT INTO c (id, t_id) SELECT id, id + n FROM t')"
    write_revision(scripts, "second", "first", [child, row])
    one, other = two(Project.load(scripts), fresh_url, "sqlite")
    one.upgrade()
    run(other.address.url, "INSERT INTO t (id, n) VALUES (1, 1)")
    assert other.plan().replays is True
    with pytest.raises(errors.ForeignKeysBroken, match="1 rows of c"):
        other.upgrade()
    assert other.status().current == ("first",)


def test_nobody_replays_for_another_url_kind(
    project: Project, sqlite_url: URL, postgresql_url: URL
) -> None:
    project.at(sqlite_url).upgrade("r001")
    project.at(sqlite_url).upgrade()
    project.at(postgresql_url).upgrade("r001")
    assert project.at(postgresql_url).plan().replays is None
