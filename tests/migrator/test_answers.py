"""Revisions that ask SQLite for its schema are replayed where it answers as it did before.

Whatever is replayed must be what `alembic` does: each case is compared with a database that was
never replayed.
"""

import gc
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.engine import URL

from headway import Project, errors
from headway.execution.migration import MOST_ANSWERS
from headway.proof.answers import STAYS, Answer
from tests.migrator.making import run
from tests.migrator.scripts import write_revision

Fresh = Callable[[str], URL]

TABLES = [
    'op.create_table("o", sa.Column("id", sa.Integer, primary_key=True))',
    'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True), '
    'sa.Column("n", sa.Integer), sa.Column("s", sa.String(20)), '
    'sa.Column("o_id", sa.Integer, sa.ForeignKey("o.id", ondelete="CASCADE")), '
    'sa.UniqueConstraint("s", name="uq"), sa.CheckConstraint("id > 0", name="positive"))',
    'op.create_index("ix_t_id", "t", ["id"])',
]
ROWS = (
    "INSERT INTO o VALUES (1), (2)",
    "INSERT INTO t VALUES (1, 5, 'one', 1), (2, 6, 'it''s; 100% :x', 2), (3, 7, NULL, NULL)",
)
BATCH = "with op.batch_alter_table('t', recreate='always') as batch:"
OPERATIONS = [
    "batch.drop_column('n')",
    "batch.alter_column('s', new_column_name='words')",
    "batch.alter_column('s', existing_type=sa.String(20), type_=sa.Text, nullable=False, "
    "server_default='x')",
    "batch.add_column(sa.Column('m', sa.Integer, nullable=False, server_default='1'), "
    "insert_after='id')",
    "batch.drop_constraint('uq', type_='unique')",
    "batch.create_foreign_key('fk', 'o', ['n'], ['id'])",
    "batch.create_unique_constraint('both', ['n', 's'])",
    "batch.create_index('ix_s', ['s'])",
]


def contents(url: URL) -> list[object]:
    """The schema and all rows, with their types."""
    with closing(sqlite3.connect(str(url.database))) as connection:
        query = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
        objects = connection.execute(query).fetchall()
        # Alembic's copy of a table has its constraints in any order.
        found: list[object] = [
            (kind, name, sorted(line.rstrip(", ") for line in (sql or "").splitlines()))
            for kind, name, sql in objects
        ]
        for kind, name, _ in objects:
            if kind == "table":
                found += map(repr, connection.execute(f'SELECT * FROM "{name}" ORDER BY rowid'))
        return found


def project_of(scripts: Path, up: Sequence[str], down: Sequence[str] = ("pass",)) -> Project:
    write_revision(scripts, "first", None, TABLES)
    write_revision(scripts, "second", "first", up, down)
    return Project.load(scripts)


def members(project: Project, fresh_url: Fresh, count: int) -> list[URL]:
    urls = [fresh_url("sqlite") for _ in range(count)]
    for url in urls:
        project.at(url).upgrade("first")
        run(url, *ROWS)
    return urls


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("recreate", ["auto", "always"])
def test_what_is_replayed_is_what_alembic_does(
    scripts: Path, fresh_url: Fresh, operation: str, recreate: str
) -> None:
    batch = f"with op.batch_alter_table('t', recreate='{recreate}') as batch:"
    if recreate == "auto":
        operation = operation.replace(", insert_after='id'", "")
    if "batch.alter_column" in operation and "nullable=False" in operation:
        operation = f"op.execute(\"UPDATE t SET s = 'x' WHERE s IS NULL\"); {operation}"
    if "create_foreign_key" in operation:
        operation = f'op.execute("UPDATE t SET n = 1"); {operation}'
    project = project_of(scripts, [batch, f"    {operation}"])
    first, second, python = members(project, fresh_url, 3)
    project.at(first).upgrade()
    assert project.at(second).upgrade().replayed
    assert not project.at(python, replay=False).upgrade().replayed
    assert contents(second) == contents(python) == contents(first)


def test_a_plan_says_that_it_is_replayed_where_the_answers_are_known(
    scripts: Path, fresh_url: Fresh
) -> None:
    project = project_of(scripts, [BATCH, "    batch.drop_column('n')"])
    first, second = members(project, fresh_url, 2)
    assert project.at(second).plan().replays is None
    project.at(first).upgrade()
    plan = project.at(second).plan()
    assert plan.replays is True
    assert "where they are others, it is run as Python" in plan.why


def test_the_way_back_is_replayed_too(scripts: Path, fresh_url: Fresh) -> None:
    up = ["op.add_column('t', sa.Column('extra', sa.Integer))"]
    project = project_of(scripts, up, [BATCH, "    batch.drop_column('extra')"])
    first, second, python = members(project, fresh_url, 3)
    for url in (first, second, python):
        project.at(url).upgrade()
    project.at(first).downgrade("first")
    assert project.at(second).downgrade("first").replayed
    project.at(python, replay=False).downgrade("first")
    assert contents(second) == contents(python)


@pytest.mark.parametrize(
    "by_hand",
    [
        "ALTER TABLE t ADD COLUMN mine INTEGER",
        "CREATE INDEX mine ON t (s)",
        "CREATE UNIQUE INDEX mine ON t (s, n)",
        "DROP INDEX ix_t_id",
        "ALTER TABLE t RENAME COLUMN s TO words",
    ],
)
def test_a_database_that_answers_otherwise_is_run_as_python(
    scripts: Path, fresh_url: Fresh, by_hand: str
) -> None:
    """What somebody made by hand is kept as Alembic keeps it, and nothing is made twice."""
    other = "op.create_table('u', sa.Column('id', sa.Integer, primary_key=True))"
    project = project_of(scripts, [other, BATCH, "    batch.drop_column('o_id')"])
    first, changed, python = members(project, fresh_url, 3)
    for url in (changed, python):
        run(url, by_hand)
    project.at(first).upgrade()
    assert not project.at(changed).upgrade().replayed
    project.at(python, replay=False).upgrade()
    assert contents(changed) == contents(python)
    assert project.at(changed).status().current == ("second",)


def test_each_set_of_answers_is_recorded_up_to_a_limit(scripts: Path, fresh_url: Fresh) -> None:
    project = project_of(scripts, [BATCH, "    batch.drop_column('n')"])
    kinds = [members(project, fresh_url, 2) for _ in range(MOST_ANSWERS + 1)]
    for number, urls in enumerate(kinds):
        for url in urls:
            run(url, f"ALTER TABLE t ADD COLUMN mine{number} INTEGER")
    replayed = [[project.at(url).upgrade().replayed for url in urls] for urls in kinds]
    assert replayed == [[False, True]] * MOST_ANSWERS + [[False, False]]
    for number, urls in enumerate(kinds):
        for url in urls:
            assert f"mine{number}" in str(contents(url))
            assert project.at(url).status().current == ("second",)


@pytest.mark.parametrize(
    ("up", "why"),
    [
        (
            ["import datetime", BATCH, "    batch.add_column(sa.Column('m', sa.Text, ",
             "        server_default=str(datetime.datetime.now())), insert_after='id')"],
            "now",
        ),
        (
            ["import os", BATCH, "    batch.drop_column(os.environ.get('COLUMN', 'n'))"],
            "os.environ",
        ),
        (
            ["if 'one' in str(op.get_bind().engine.url):", "    pass", BATCH,
             "    batch.drop_column('n')"],
            "get_bind",
        ),
        (
            ["columns = sa.inspect(op.get_bind()).get_columns('t')", BATCH,
             "    batch.drop_column(columns[1]['name'])"],
            "get_bind",
        ),
        (
            ['if op.get_context().impl._exec(sa.text("UPDATE t SET n = 9")).rowcount > 100:', "    pass", BATCH,
             "    batch.drop_column('n')"],
            "_exec",
        ),
        (
            [BATCH, "    batch.drop_column('n')",
             "op.bulk_insert(sa.table('o', sa.column('id')), [{'id': 8}, {'id': 9}])"],
            "sends rows as values",
        ),
    ],
)  # fmt: skip
def test_what_depends_on_more_than_the_answers_is_never_replayed(
    scripts: Path, fresh_url: Fresh, up: list[str], why: str
) -> None:
    project = project_of(scripts, up)
    first, second = members(project, fresh_url, 2)
    assert not project.at(first).upgrade().replayed
    plan = project.at(second).plan()
    assert plan.replays is False
    assert why in plan.why
    assert not project.at(second).upgrade().replayed


def test_a_replay_that_breaks_a_foreign_key_is_refused_as_without(
    scripts: Path, fresh_url: Fresh
) -> None:
    up = [BATCH, "    batch.create_foreign_key('fk', 'o', ['n'], ['id'])"]
    project = project_of(scripts, up)
    first, second, python = members(project, fresh_url, 3)
    run(first, "UPDATE t SET n = 1")
    project.at(first).upgrade()
    for url, options in ((second, {}), (python, {"replay": False})):
        before = contents(url)
        with pytest.raises(errors.ForeignKeysBroken, match="of t"):
            project.at(url, **options).upgrade()  # type: ignore[arg-type]
        assert contents(url) == before


def test_a_replay_that_loses_a_trigger_is_refused_as_without(
    scripts: Path, fresh_url: Fresh
) -> None:
    """Alembic's copy of the table does not bring it along."""
    project = project_of(scripts, [BATCH, "    batch.drop_column('n')"])
    first, second, python = members(project, fresh_url, 3)
    project.at(first).upgrade()
    refusals = []
    for url, options in ((second, {}), (python, {"replay": False})):
        run(url, "CREATE TRIGGER mine AFTER DELETE ON t BEGIN DELETE FROM o; END")
        before = contents(url)
        with pytest.raises(errors.HeadwayError, match="mine") as refusal:
            project.at(url, **options).upgrade()  # type: ignore[arg-type]
        refusals.append(type(refusal.value))
        assert contents(url) == before
    assert refusals[0] is refusals[1]


def test_a_replay_that_cannot_copy_the_rows_leaves_nothing(scripts: Path, fresh_url: Fresh) -> None:
    up = [BATCH, "    batch.create_unique_constraint('one', ['n'])"]
    project = project_of(scripts, up)
    first, second = members(project, fresh_url, 2)
    project.at(first).upgrade()
    run(second, "UPDATE t SET n = 5")
    before = contents(second)
    with pytest.raises(errors.MigrationFailed, match="second"):
        project.at(second).upgrade()
    assert contents(second) == before
    assert project.at(second).status().position == "behind"


def test_a_script_that_changed_is_recorded_again(scripts: Path, fresh_url: Fresh) -> None:
    project = project_of(scripts, [BATCH, "    batch.drop_column('n')"])
    first, second, third = members(project, fresh_url, 3)
    project.at(first).upgrade()
    write_revision(scripts, "second", "first", [BATCH, "    batch.drop_column('o_id')"])
    project = Project.load(scripts)
    assert not project.at(second).upgrade().replayed
    assert project.at(third).upgrade().replayed
    assert contents(second) == contents(third)
    assert "o_id" not in str(contents(third)[:10])


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    st.binary(),
)
NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_an_answer_is_repeated_as_it_was(data: st.DataObject) -> None:
    columns = tuple(data.draw(st.lists(NAMES, min_size=1, max_size=4)))
    row = st.tuples(*[VALUES] * len(columns))
    answer = Answer(columns, tuple(data.draw(st.lists(row, max_size=5))))
    with closing(sqlite3.connect(":memory:")) as connection, closing(connection.cursor()) as cursor:
        answer.repeat(cursor)
        again = Answer.read(cursor)
    assert again is not None
    assert again.is_same(answer)


def test_one_and_one_point_nought_are_two_answers() -> None:
    assert not Answer(("a",), ((1,),)).is_same(Answer(("a",), ((1.0,),)))


def test_a_long_answer_is_none() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
        with closing(connection.execute(f"{many} LIMIT 401")) as cursor:
            assert Answer.read(cursor) is None
        with closing(connection.execute(f"{many} LIMIT 400")) as cursor:
            found = Answer.read(cursor)
            assert found is not None
        with closing(connection.cursor()) as cursor:
            found.repeat(cursor)
            assert found.is_same(Answer.read(cursor))


def test_the_recorded_run_is_the_only_one_that_is_asked_twice(
    scripts: Path, fresh_url: Fresh
) -> None:
    """Queries of rows are not repeated to record them: they may take long."""
    up = ["op.get_bind().execute(sa.text('SELECT count(*) FROM t')).scalar()"]
    project = project_of(scripts, up)
    first, _ = members(project, fresh_url, 2)
    asked: list[str] = []

    @sa.event.listens_for(sa.pool.Pool, "connect")
    def connected(raw: sqlite3.Connection, _record: object) -> None:
        raw.set_trace_callback(asked.append)

    try:
        project.at(first).upgrade()
    finally:
        sa.event.remove(sa.pool.Pool, "connect", connected)
    assert sum("count(*) FROM t" in one for one in asked) == 1


# --- what a replay cannot see ------------------------------------------------------------------

DROP_N = f"{BATCH}\n        batch.drop_column('n')"
NO_SUCH_INDEX = (
    "try:\n        op.execute('DROP INDEX mine')\n    except sa.exc.OperationalError:\n        "
)


def upgraded(
    scripts: Path,
    fresh_url: Fresh,
    *,
    up: Sequence[str],
    more: Sequence[str] = (),
    first: Sequence[str] = (),
    second: Sequence[str] = (),
    head: str = "",
) -> bool | None:
    """Upgrade a first database, then one that was changed by hand, in the way Python does.

    `first` and `second` are what was done by hand. Whether the second was replayed; None if it was
    refused, as it is without a replay.
    """
    write_revision(scripts, "first", None, TABLES)
    write_revision(scripts, "second", "first", up, head=head)
    if more:
        write_revision(scripts, "third", "second", more)
    project = Project.load(scripts)
    recorded, replayed, python = members(project, fresh_url, 3)
    for url, by_hand in ((recorded, first), (replayed, second), (python, second)):
        if by_hand:
            run(url, *by_hand)
    project.at(recorded).upgrade()
    found: list[object] = []
    for url, options in ((replayed, {}), (python, {"replay": False})):
        try:
            found.append(project.at(url, **options).upgrade().replayed)  # type: ignore[arg-type]
        except errors.HeadwayError as error:
            found.append((type(error), str(error)))
    assert contents(replayed) == contents(python)
    if isinstance(found[0], bool):
        assert found[1] is False
        return found[0]
    assert found[0] == found[1]
    return None


@pytest.mark.parametrize("batch", ["pass", DROP_N])
def test_an_error_that_a_revision_catches_is_no_recording(
    scripts: Path, fresh_url: Fresh, batch: str
) -> None:
    """Replayed, it would be the end of the upgrade."""
    assert upgraded(scripts, fresh_url, up=[f"{NO_SUCH_INDEX}pass", batch]) is False


@pytest.mark.parametrize("batch", ["pass", f"{BATCH}\n        batch.drop_column('o_id')"])
def test_an_error_that_the_recorded_database_did_not_give_may_be_caught(
    scripts: Path, fresh_url: Fresh, batch: str
) -> None:
    up = [
        "try:\n        op.execute('CREATE UNIQUE INDEX mine ON t (n)')\n"
        "    except sa.exc.IntegrityError:\n        op.execute('CREATE INDEX mine ON t (n)')",
        batch,
    ]
    assert upgraded(scripts, fresh_url, up=up, second=["UPDATE t SET n = 1"]) is False


@pytest.mark.parametrize(
    ("up", "setting"),
    [
        ("UPDATE t SET n = 100 WHERE s LIKE 'ONE'", "PRAGMA case_sensitive_like=ON"),
        ("CREATE TABLE c (id INTEGER REFERENCES t (id))", "PRAGMA legacy_alter_table=ON"),
        ("UPDATE t SET n = 100", "ATTACH ':memory:' AS beside"),
    ],
)
def test_a_replay_that_is_given_up_leaves_its_connection_as_it_was(
    scripts: Path, fresh_url: Fresh, up: str, setting: str
) -> None:
    """A rollback takes back no setting, and the revisions would be run with it."""
    rename = "op.rename_table('t', 'tt')"
    batch = "with op.batch_alter_table('o', recreate='always') as batch:"
    replayed = upgraded(
        scripts,
        fresh_url,
        up=[f"op.execute({up!r})", rename],
        more=[
            f"op.execute({setting!r})",
            batch,
            "    batch.add_column(sa.Column('z', sa.Integer))",
        ],
        second=["ALTER TABLE o ADD COLUMN mine INTEGER"],
    )
    assert replayed is False


@pytest.mark.parametrize("asked", ["last_insert_rowid()", "total_changes()"])
def test_a_replay_that_is_given_up_is_not_the_last_change_of_its_connection(
    scripts: Path, fresh_url: Fresh, asked: str
) -> None:
    up = [f"op.execute('UPDATE t SET n = {asked}')", "op.execute('INSERT INTO o VALUES (500)')"]
    more = ["with op.batch_alter_table('t') as batch:", "    batch.drop_constraint('uq')"]
    second = ["ALTER TABLE t ADD COLUMN mine INTEGER"]
    assert upgraded(scripts, fresh_url, up=up, more=more, second=second) is False


@pytest.mark.parametrize(
    ("sql", "stays"),
    [
        ("PRAGMA case_sensitive_like=ON", True),
        ("/* it */ ; -- is\n pragma main.legacy_alter_table = 1", True),
        ("EXPLAIN PRAGMA case_sensitive_like=ON", True),
        ("ATTACH 'x' AS x", True),
        ('UPDATE t SET n = "last_insert_rowid" ()', True),
        ("PRAGMA foreign_keys=OFF", False),
        ("PRAGMA main.user_version = 7", False),
        ("UPDATE t SET changes = 1", False),
        ("CREATE TABLE pragma (n INTEGER)", False),
    ],
)
def test_what_stays_after_a_rollback(sql: str, stays: bool) -> None:
    assert bool(STAYS.match(sql)) is stays


@pytest.mark.parametrize("setting", ["foreign_keys=OFF", "defer_foreign_keys=ON", "user_version=7"])
def test_a_setting_that_a_rollback_takes_back_is_replayed(
    scripts: Path, fresh_url: Fresh, setting: str
) -> None:
    assert upgraded(scripts, fresh_url, up=[f"op.execute('PRAGMA {setting}')", DROP_N])


@pytest.mark.parametrize(
    ("up", "head"),
    [
        (
            [
                "found = op.get_context().impl._exec(sa.text('UPDATE t SET n = 9 WHERE n = 5'))",
                "if found.rowcount == 0:",
                "    op.execute('INSERT INTO o VALUES (99)')",
                DROP_N.replace("'n'", "'s'"),
            ],
            "",
        ),
        (
            [
                "if 'other.db' in getattr(op, 'get_bind')().engine.url.database:",
                "    op.execute('INSERT INTO o VALUES (99)')",
                DROP_N,
            ],
            "",
        ),
        (
            [
                DROP_N,
                "insert = sa.DDL('INSERT INTO o VALUES (99)').execute_if(callable_=is_other)",
                "op.create_table('u', sa.Column('id', sa.Integer), "
                "listeners=[('after_create', insert)])",
            ],
            "\ndef is_other(ddl, target, bind, **_):\n"
            "    return 'other.db' in bind.engine.url.database\n",
        ),
        (
            [
                "try:\n        op.execute(f\"UPDATE o SET id = id WHERE '{[object() for _ in range(99)]}' = ''\")\n"
                "    except Exception:\n        pass",
                DROP_N,
            ],
            "",
        ),
    ],
    ids=["how many rows", "the URL by a name", "the URL of a listener", "where objects are"],
)
def test_what_a_revision_learns_in_another_way_is_never_replayed(
    scripts: Path, fresh_url: Fresh, up: list[str], head: str
) -> None:
    write_revision(scripts, "first", None, TABLES)
    write_revision(scripts, "second", "first", up, head=head)
    project = Project.load(scripts)
    first, second = members(project, fresh_url, 2)
    run(second, "UPDATE t SET n = 1")
    project.at(first).upgrade()
    assert project.at(second).plan().replays is False
    assert not project.at(second).upgrade().replayed


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE t SET s = floor(n + 0.5)",
        "UPDATE t SET n = 50 WHERE s REGEXP '^o'",
        "CREATE INDEX matching ON t (id) WHERE s REGEXP '^o'",
    ],
)
@pytest.mark.parametrize("batch", ["pass", f"{BATCH}\n        batch.drop_column('o_id')"])
def test_a_replay_has_the_functions_of_sqlalchemys_connections(
    scripts: Path, fresh_url: Fresh, statement: str, batch: str
) -> None:
    one_text = 'op.execute("UPDATE t SET s = NULL WHERE id > 1")'
    assert upgraded(scripts, fresh_url, up=[one_text, f"op.execute({statement!r})", batch])


@pytest.mark.parametrize("batch", ["pass", DROP_N])
def test_rows_that_a_step_adds_may_not_be_lost_by_the_next_one(
    scripts: Path, fresh_url: Fresh, batch: str
) -> None:
    """The recorded database had none to be added."""
    replayed = upgraded(
        scripts,
        fresh_url,
        up=["op.execute('INSERT INTO t (id) SELECT id + 100 FROM o')"],
        more=["op.execute('DELETE FROM t WHERE id > 100')", batch],
        first=["DELETE FROM t", "DELETE FROM o"],
    )
    assert replayed is None


def test_a_table_with_many_indexes_is_replayed(scripts: Path, fresh_url: Fresh) -> None:
    """Alembic makes those of a copy in another order each time."""
    indexes = [f"op.create_index('ix_{number}', 't', ['s', 'id'])" for number in range(6)]
    assert upgraded(scripts, fresh_url, up=[*indexes, DROP_N])


def test_what_the_garbage_collector_calls_is_no_part_of_a_revision(
    scripts: Path, fresh_url: Fresh
) -> None:
    def called(*_: object) -> None:
        time.monotonic()

    gc.callbacks.append(called)
    try:
        assert upgraded(scripts, fresh_url, up=["[[] for _ in range(100_000)]", DROP_N])
    finally:
        gc.callbacks.remove(called)


def test_what_env_py_read_of_its_surroundings_makes_another_recording(
    scripts: Path, fresh_url: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = (scripts / "env.py").read_text()
    metadata = "MetaData(naming_convention={'uq': os.environ['UNIQUE'] + '_%(table_name)s'})"
    (scripts / "env.py").write_text(
        env.replace(
            "target_metadata = None",
            f"import os\nfrom sqlalchemy import MetaData\ntarget_metadata = {metadata}",
        )
    )
    unique = "op.create_table('u', sa.Column('n', sa.Integer), sa.UniqueConstraint('n'))"
    monkeypatch.setenv("UNIQUE", "one")
    project = project_of(scripts, [unique, DROP_N])
    first, second, third = members(project, fresh_url, 3)
    project.at(first).upgrade()
    monkeypatch.setenv("UNIQUE", "other")
    assert not project.at(second).upgrade().replayed
    assert project.at(third).upgrade().replayed
    assert "CONSTRAINT other_u UNIQUE" in str(contents(third))
    assert contents(second) == contents(third)
