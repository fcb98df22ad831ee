"""Checks of a project's revisions in an empty database: for `headway lint`, and in tests."""

import datetime as dt
import decimal
import itertools
import os
import uuid
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import URL, Connection, Engine, Enum, MetaData, Table, func, select
from sqlalchemy.exc import SQLAlchemyError

from headway import history
from headway import status as verdict
from headway.connections.session import Policy
from headway.database import Database
from headway.dialects import dialect_of
from headway.dialects.urls import DatabaseURL
from headway.errors import HeadwayError, ObjectsLost, RowsLost
from headway.plan import plans
from headway.plan.plans import Direction
from headway.schema import autogenerate
from headway.schema.compare import Reference, Scope, reflected, without_sqlalchemy_warnings
from headway.schema.differences import differences
from headway.scripts.connection_setup import addressed
from headway.scripts.project import ScriptProject

_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem that a check has found."""

    rule: str
    """Its kind: `several-heads`, `downgrade-fails`, …"""
    message: str
    revision: str | None = None
    path: str | None = None
    """The revision's file."""
    is_error: bool = True
    """False for what a person should know and decide."""

    def __str__(self) -> str:
        return f"{f'{self.revision}: ' if self.revision else ''}{self.message}"


def check_scripts(project: ScriptProject) -> tuple[Finding, ...]:
    """Problems of the scripts that need no database: several heads, ids that are too long."""
    return tuple(
        Finding(rule="several-heads" if "heads" in message else "long-id", message=message)
        for message in autogenerate.validate(project)
    )


def check_models(database: Database) -> tuple[Finding, ...]:
    """Differences of env.py's models from a database at head; () if env.py names none."""
    return tuple(
        Finding(rule="models-differ", message=f"the models differ from the revisions: {text}")
        for text in database.check().models or ()
    )


def check_steps(
    database: Database,
    *,
    only: Collection[str] | None = None,
    with_rows: bool = False,
    down: bool = True,
) -> tuple[Finding, ...]:
    """Upgrade an empty database revision by revision; each goes down and up again.

    `only` limits that to these revisions, `with_rows` puts a row into each empty table before
    each, so that a revision that loses them, or cannot do with any, is found. It stops at the
    first revision that cannot be run.
    """
    project = database.project
    if not project.heads:
        return ()
    steps = plans.alembic_steps(project, Direction.UPGRADE, "heads", ())
    checks = _Steps(replace(database, policy=Policy(replay=False)), with_rows, down)
    found: list[Finding] = []
    for name in plans.step_names(steps):
        if only is not None and name not in only:
            checks.database.upgrade(name)
            continue
        try:
            found += checks.check(name)
        except _StopChecks as stop:
            return (*found, stop.finding)
    return tuple(found)


class _StopChecks(Exception):
    """A revision cannot be run, so that those after it cannot be checked."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding


@dataclass
class _Steps:
    """Checks revisions one by one on one database, which is at what comes before each."""

    database: Database
    with_rows: bool
    down: bool

    def check(self, name: str) -> Iterator[Finding]:
        revision = next(one for one in self.database.project.revisions if one.id == name)
        about: dict[str, Any] = {"revision": name, "path": revision.path}
        if self.with_rows:
            fill(self.database)
        before = self._reference()
        self._run(lambda: self.database.upgrade(name), "upgrade-fails", about)
        if not self.down or len(revision.parents) > 1:  # a merge has several ways down
            return
        self._run(lambda: self.database.downgrade(f"{name}@-1"), "downgrade-fails", about)
        for text in self._differences(before):
            yield Finding(
                rule="downgrade-leaves",
                message=f"its downgrade leaves a difference: {text}",
                **about,
            )
        self._run(
            lambda: self.database.upgrade(name),
            "downgrade-fails",
            about,
            "after its downgrade it cannot be upgraded again: ",
        )

    def _run(self, work: Any, rule: str, about: dict[str, Any], note: str = "") -> None:
        try:
            work()
        except HeadwayError as error:
            lost = isinstance(error, RowsLost | ObjectsLost)
            found = Finding(rule="loses-rows" if lost else rule, message=f"{note}{error}", **about)
            raise _StopChecks(found) from error

    def _reference(self) -> Reference:
        with self._connected() as connection:
            facts = dialect_of(connection).facts(connection)
            tables = [key[1:3] for key in facts if key.kind == "table"]
            return Reference(
                facts=facts,
                schema=reflected(connection, tables),
                scope=Scope(
                    default=dialect_of(connection).default_schema(connection),
                    ours=_bookkeeping(self.database),
                    options={},
                ),
                models=None,
            )

    def _differences(self, before: Reference) -> list[str]:
        with self._connected() as connection:
            return [one.says for one in differences(connection, before)]

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        address = self.database.address
        with address.open() as raw, address.connected(raw) as connection:
            yield connection
            connection.rollback()


def _bookkeeping(database: Database) -> frozenset[str]:
    table = verdict.version_table(database.project, database.address, database.x)
    return frozenset({table.name, history.NAME})


# --- rows -------------------------------------------------------------------------------------

MOMENT = dt.datetime(2001, 2, 3, 4, 5, 6)  # noqa: DTZ001  # a column without a zone takes it
VALUES: dict[type, Any] = {
    bool: False,
    int: 1,
    float: 1.0,
    str: "a",
    bytes: b"a",
    decimal.Decimal: decimal.Decimal(1),
    dt.datetime: MOMENT,
    dt.date: MOMENT.date(),
    dt.time: MOMENT.time(),
    dt.timedelta: dt.timedelta(seconds=1),
    uuid.UUID: uuid.UUID(int=1),
    dict: {},
    list: [],
}
"""A value for a column of each type."""


def fill(database: Database) -> int:
    """Put one row into each empty table, as far as its constraints allow; how many that were."""
    engine = database.address.own_engine()
    try:
        metadata = MetaData()
        with without_sqlalchemy_warnings():
            metadata.reflect(engine)
        ours = _bookkeeping(database)
        tables = [one for one in metadata.sorted_tables if one.name not in ours]
        return sum(_is_filled(engine, table) for table in tables)
    finally:
        engine.dispose()


def _is_filled(engine: Engine, table: Table) -> bool:
    try:
        with engine.connect().execution_options(write=True) as connection, connection.begin():
            if connection.scalar(select(func.count()).select_from(table)):
                return False
            connection.execute(table.insert().values(_row(connection, table)))
    except (SQLAlchemyError, NotImplementedError):  # a check, or a type of its own: it stays empty
        return False
    return True


def _row(connection: Connection, table: Table) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in table.columns:
        if column.computed is not None or column.identity is not None:
            continue
        if column.foreign_keys:
            parent = next(iter(column.foreign_keys)).column
            row[column.name] = connection.scalar(select(parent).limit(1))
        elif isinstance(column.type, Enum):
            row[column.name] = column.type.enums[0]
        else:
            row[column.name] = VALUES.get(column.type.python_type)
    return row


# --- a database for it --------------------------------------------------------------------------


def fresh_url(beside: URL, folder: Path, prefix: str = "headway_check_") -> URL:
    """The URL of a database that is not there: on the same server, or a file in the folder."""
    name = f"{prefix}{os.getpid()}_{next(_numbers)}"
    if beside.get_backend_name() == "sqlite":
        return beside.set(database=str(folder / f"{name}.sqlite"))
    return beside.set(database=name)


@contextmanager
def empty_database(database: Database) -> Iterator[Database]:
    """An empty database of the same kind on the same server, dropped at the end."""
    dialect = database.address.dialect
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="headway")))
        url = fresh_url(database.address.url, folder)
        dialect.make(url)
        stack.callback(dialect.discard, url)
        if DatabaseURL.of(url).schema not in (None, "public"):
            dialect.make_schema(url)
        project, address = addressed(database.project, url, database.x)
        address = replace(address, stands_for=database.address.project_url)
        yield Database(project, address, database.x, database.policy)
