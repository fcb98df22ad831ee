"""Column types with the same meaning on SQLite, PostgreSQL and MariaDB."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, String, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

BigId = BigInteger().with_variant(Integer, "sqlite")
"""A key for tables that grow for ever. SQLite only numbers `INTEGER` keys by itself."""


def exact_string(length: int) -> String:
    """Text that is compared exactly: by default MariaDB takes é for e and A for a."""
    mariadb = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(mariadb, "mysql", "mariadb")


class UtcDateTime(TypeDecorator[datetime]):
    """A time, always aware and in UTC in Python, to the microsecond if the server can.

    PostgreSQL keeps the zone; SQLite and MariaDB keep the UTC wall clock.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name in ("mysql", "mariadb"):
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("A time without a zone could mean anything: use datetime.now(UTC).")
        value = value.astimezone(UTC)
        return value if dialect.name == "postgresql" else value.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class utc_now(FunctionElement[datetime]):  # noqa: N801  # an SQL function, named as one
    """The server's clock, in UTC. Sessions on MariaDB are set to UTC when they connect."""

    type = UtcDateTime()
    inherit_cache = True


@compiles(utc_now)
def _now(element: utc_now, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ARG001
    return "CURRENT_TIMESTAMP"


@compiles(utc_now, "mysql")
@compiles(utc_now, "mariadb")
def _now_mysql(element: utc_now, compiler: SQLCompiler, **_: Any) -> str:  # noqa: ARG001
    return "CURRENT_TIMESTAMP(6)"


LongText = Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
"""Text of any length: MariaDB's own TEXT ends at 64 KiB."""


class in_small_letters(FunctionElement[str]):  # noqa: N801  # an SQL function, named as one
    """Two columns with a space between, in small letters.

    Spelled as each database gives it back, or a comparison would see a difference in every look.
    """

    type = String()
    inherit_cache = True


@compiles(in_small_letters)
def _small(element: in_small_letters, compiler: SQLCompiler, **more: Any) -> str:
    one, other = (compiler.process(part, **more) for part in element.clauses)
    return f"lower({one} || ' ' || {other})"


@compiles(in_small_letters, "postgresql")
def _small_postgresql(element: in_small_letters, compiler: SQLCompiler, **more: Any) -> str:
    one, other = (compiler.process(part, **more) for part in element.clauses)
    return f"lower((({one})::text || ' '::text) || ({other})::text)"


@compiles(in_small_letters, "mysql")
@compiles(in_small_letters, "mariadb")
def _small_mysql(element: in_small_letters, compiler: SQLCompiler, **more: Any) -> str:
    one, other = (compiler.process(part, **more) for part in element.clauses)
    return f"lcase(concat({one},' ',{other}))"


class unindexed(FunctionElement[Any]):  # noqa: N801  # reads as a column
    """A column for which no index should be used, because reading in the list's order is faster.

    SQLite knows nothing of how many rows a value has, and would sort all that are not retired.
    """

    inherit_cache = True


class rare(FunctionElement[Any]):  # noqa: N801  # reads as a condition
    """A condition that few rows meet, which are found by their index.

    SQLite knows the average number of rows with a value alone: of six states, each would have a
    sixth of all runs, and it would read all of them.
    """

    inherit_cache = True


@compiles(unindexed)
@compiles(rare)
def _as_it_is(element: unindexed | rare, compiler: SQLCompiler, **more: Any) -> str:
    return str(compiler.process(next(iter(element.clauses)), **more))


@compiles(unindexed, "sqlite")
def _unindexed_sqlite(element: unindexed, compiler: SQLCompiler, **more: Any) -> str:
    return f"+{compiler.process(next(iter(element.clauses)), **more)}"


@compiles(rare, "sqlite")
def _rare_sqlite(element: rare, compiler: SQLCompiler, **more: Any) -> str:
    return f"likelihood({compiler.process(next(iter(element.clauses)), **more)}, 0.0001)"
