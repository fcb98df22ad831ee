"""The statements that a run sends, for display: without values and without queries."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import event

from headway.errors import HeadwayError
from headway.execution.transaction import READS

SKIPPED = (*READS, "PRAGMA", "BEGIN")
MOST_STATEMENTS = 10_000
MOST_CHARACTERS = 8_000_000


@dataclass
class SentStatements:
    """Records the statements of one run up to a limit, and counts the rest."""

    kept: list[str] = field(default_factory=list)
    characters: int = 0
    more: int = 0

    @property
    def statements(self) -> list[str]:
        """The recorded statements, and a last line that counts the rest."""
        return self.kept + ([f"-- and {self.more} more statements"] if self.more else [])

    def add(self, statement: str) -> None:
        """Record a statement, unless it only reads."""
        if statement.lstrip()[:6].upper().startswith(SKIPPED):
            return
        self.characters += len(statement)
        if self.more or len(self.kept) >= MOST_STATEMENTS or self.characters > MOST_CHARACTERS:
            self.more += 1
        else:
            lines = statement.strip().splitlines()
            self.kept.append("\n".join(line.rstrip() for line in lines))

    def watch(self, migration: MigrationContext) -> None:
        """Record every statement of this context's connection from now on."""
        assert migration.connection is not None  # noqa: S101  # it runs online
        event.listen(migration.connection, "before_cursor_execute", self._on_statement)

    def _on_statement(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.add(statement)


@contextmanager
def attach_sent(sent: Callable[[], tuple[str, ...]]) -> Iterator[None]:
    """Attach the statements sent so far to a HeadwayError that passes."""
    try:
        yield
    except HeadwayError as error:
        error.sent = sent()
        raise


def readable(statements: Iterable[str]) -> tuple[str, ...]:
    """The statements that change something, without trailing blanks."""
    sent = SentStatements()
    for statement in statements:
        sent.add(statement)
    return tuple(sent.statements)
