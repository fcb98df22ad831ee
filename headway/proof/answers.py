"""Revisions that ask SQLite for its schema: their queries, the answers, and the proof.

Alembic's batch operations reflect a table before they copy it. What such a revision sends depends
on the answers, and perhaps on something else; that it does not is proven by running the revision
again, freshly imported and watched, without a database: it gets the recorded answers for two other
URLs, and has to send the same statements.
"""

import itertools
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection, event

from headway.dialects import driver
from headway.plan.sql import Span
from headway.proof.proof import Unproven, elsewhere, freshly_imported, recording_config
from headway.proof.reads import Reads

QUERY = re.compile(
    r"\s*(?:SELECT\b.*\bsqlite_(?:temp_)?(?:master|schema)\b|PRAGMA (?:(?:main|temp)\.)?"
    r"(?:table_x?info|table_list|index_list|index_x?info|foreign_key_list)\()",
    re.IGNORECASE | re.DOTALL,
)
"""What SQLite answers about its schema, without changing anything."""
MORE = "what it sends depends on more than the answers"
MOST_ROWS = 400
"""SQLite can be made to repeat so many, and no table has more columns and indexes."""


CONSTRAINT = re.compile(r"(CONSTRAINT|PRIMARY KEY|UNIQUE|FOREIGN KEY|CHECK)\b")
"""How the constraints of a table begin, each in a line of its own."""


INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX\b")
"""How Alembic makes an index."""

STAYS = re.compile(
    r"(?:[\s;]|--[^\n]*\n|/\*.*?\*/)*(?:EXPLAIN\s+(?:QUERY\s+PLAN\s+)?)?(?:ATTACH|DETACH"
    r"|PRAGMA(?!\s+(?:\w+\.)?(?:foreign_keys|defer_foreign_keys|foreign_key_check|user_version"
    r"|application_id)\b))\b|.*\b(?:last_insert_rowid|(?:total_)?changes)[\"\s\]`]*\(",
    re.IGNORECASE | re.DOTALL,
)
"""What changes SQLite's connection, where it stays after a rollback, and what asks it for its last
changes, which those of a replay that was given up are."""


class OtherAnswer(Exception):
    """Raised where a database answers a recorded query otherwise, or refuses a statement.

    A revision may catch the error, and go on in another way.
    """


@dataclass(frozen=True)
class Answer:
    """What a database answered: the names of the columns, and the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def read(cls, cursor: sqlite3.Cursor) -> "Answer | None":
        """The answer to what this cursor has executed; None if it has more than MOST_ROWS rows."""
        rows = tuple(map(tuple, cursor.fetchmany(MOST_ROWS + 1)))
        columns = tuple(column[0] for column in cursor.description or ())
        return cls(columns, rows) if len(rows) <= MOST_ROWS else None

    def is_same(self, other: "Answer | None") -> bool:
        """True if the other has the same columns, and values of the same types."""
        return repr(self) == repr(other)  # 1 and 1.0 are equal

    def repeat(self, cursor: sqlite3.Cursor) -> None:
        """Let a cursor on any SQLite database have this answer."""
        names = ", ".join(f'? AS "{name.replace(chr(34), 2 * chr(34))}"' for name in self.columns)
        if not self.rows:
            cursor.execute(f"SELECT {names} LIMIT 0", [None] * len(self.columns))
            return
        marks = ", ".join("?" * len(self.columns))
        rest = f" UNION ALL SELECT {marks}" * (len(self.rows) - 1)
        cursor.execute(f"SELECT {names}{rest}", [value for row in self.rows for value in row])


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement as the driver got it."""

    sql: str
    parameters: Any
    moves: bool = False
    """True if it updates or deletes a row of the version table: exactly one."""
    answer: Answer | None = None
    """What was answered, if it is a query whose answer the revision sees."""


def prove(
    span: Span, steps: Sequence[Any], sent: Sequence[Sequence[Statement]], reads: Reads
) -> None:
    """Run these steps again, twice, with the answers of a run that sent this in each step.

    Call within `isolated`. Raises Unproven if another statement is sent; what the revisions read
    beside the answers is in `reads`.
    """
    for place in elsewhere(span.address.url):
        config = recording_config(span.project.config_for(place, span.x), reads)
        with _connected(place) as connection:
            _Playback(connection, sent).run(span, config, freshly_imported(steps, reads))


@contextmanager
def _connected(url: URL) -> Iterator[Connection]:
    """A connection to an empty database in memory, which is said to be at this URL."""
    with (
        closing(sqlite3.connect(":memory:", isolation_level=None)) as raw,
        driver.engine_on(raw, url).connect() as connection,
    ):
        yield connection


class _Playback:
    """Revisions on a connection that executes nothing of theirs, and answers from a record."""

    def __init__(self, connection: Connection, sent: Sequence[Sequence[Statement]]) -> None:
        self.connection = connection
        self.steps = iter(sent)
        self.left: list[Statement] | None = None
        """What the running step has yet to send; None before the first."""
        self.version_table = ""
        self.differs = False
        """True if another statement was sent: the revision may have caught what was raised."""

    def run(self, span: Span, config: Config, steps: Sequence[Any]) -> None:
        """Run the steps. Raises Unproven if they send other statements than were recorded."""
        context = EnvironmentContext(
            config,
            span.project.directory,
            fn=lambda *_: self.through(steps),
            destination_rev=span.target,
        )
        environment = span.project.environment_for(span.address.url, span.x)
        options = environment.options_without_callbacks | {"transactional_ddl": True}
        with context:
            context.configure(connection=self.connection, **options)
            migration = context.get_context()
            self._stamp(migration, span.start)
            for name in ("do_execute", "do_executemany"):
                event.listen(self.connection.engine, name, self._execute)
            event.listen(self.connection.engine, "do_execute_no_params", self._execute_plain)
            with migration.begin_transaction():
                context.run_migrations(**environment.run_arguments)
        self.end_step()
        if self.differs:
            raise Unproven(MORE)

    def _stamp(self, migration: MigrationContext, revisions: Sequence[str]) -> None:
        """Let Alembic find these revisions."""
        self.version_table = str(migration.version_table)
        versions = migration._version  # noqa: SLF001  # FRAGILE: private in Alembic
        versions.create(self.connection)
        for revision in revisions:
            self.connection.execute(versions.insert().values(version_num=revision))
        self.connection.commit()

    def through(self, steps: Sequence[Any]) -> Iterator[Any]:
        """Alembic's steps, each after the one before has sent all that it sent."""
        for step in steps:
            self.end_step()
            self.left = list(next(self.steps))
            yield step

    def end_step(self) -> None:
        """Raise Unproven if the running step has sent less than was recorded."""
        if self.left:
            raise Unproven("it sends less elsewhere")

    def _execute(self, cursor: Any, sql: str, parameters: Any, _context: Any) -> bool:
        """True if a statement is answered; else it is executed: what Alembic itself keeps."""
        if self.left is None:
            return False
        place = _place_of(sql, parameters, self.left)
        if place is None:
            self.differs = True
            raise Unproven(MORE)
        expected = self.left.pop(place)
        if expected.answer is not None:
            expected.answer.repeat(cursor)
            return True
        return not self._keeps_version(sql)

    def _execute_plain(self, cursor: Any, sql: str, context: Any) -> bool:
        return self._execute(cursor, sql, (), context)

    def _keeps_version(self, sql: str) -> bool:
        start = rf"(?:INSERT INTO|UPDATE|DELETE FROM) [\"`\[]?{re.escape(self.version_table)}\b"
        return re.match(start, sql) is not None


def _place_of(sql: str, parameters: Any, left: Sequence[Statement]) -> int | None:
    """Where this is among the statements that are left: the first, or one of several indexes.

    Alembic's copy of a table has its indexes in the order of a set, as its constraints.
    """
    if not left:
        return None
    indexes = itertools.takewhile(lambda one: INDEX.match(one.sql), left)
    candidates = indexes if INDEX.match(left[0].sql) else left[:1]
    found = (place for place, one in enumerate(candidates) if _is_same(one, sql, parameters))
    return next(found, None)


def _is_same(expected: Statement, sql: str, parameters: Any) -> bool:
    """True if this was sent, but for the order of a table's constraints.

    Alembic's copy of a table has them in the order of a set, which is another one each time.
    """
    same = expected.sql == sql or _unordered(expected.sql) == _unordered(sql)
    return same and repr(expected.parameters) == repr(parameters)


def _unordered(sql: str) -> list[str]:
    """The lines of a CREATE TABLE, with the constraints in alphabetical order."""
    lines = [line.removesuffix(", ") for line in sql.split("\n\t")]
    if not lines[0].lstrip().startswith("CREATE TABLE"):
        return [sql]
    lines[-1:] = lines[-1].rsplit("\n)", 1)
    return [one for one in lines if not CONSTRAINT.match(one)] + sorted(
        filter(CONSTRAINT.match, lines)
    )
