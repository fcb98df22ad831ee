"""What a run sends to its database, as a person reads it: no values, no questions."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import event

from app.errors import HeadwayError
from app.migrator.run import READS

SKIPPED = (*READS, "PRAGMA", "BEGIN")


@dataclass
class Sent:
    """Notes the statements of one run."""

    statements: list[str] = field(default_factory=list)

    def watch(self, migration: MigrationContext) -> None:
        """Hear every statement of this context's connection from now on."""
        assert migration.connection is not None  # noqa: S101  # it runs online
        event.listen(migration.connection, "before_cursor_execute", self._heard)

    def _heard(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self.statements += readable([statement])


@contextmanager
def noting(sent: Callable[[], tuple[str, ...]]) -> Iterator[None]:
    """An error of ours takes along what had been sent."""
    try:
        yield
    except HeadwayError as error:
        error.sent = sent()
        raise


def readable(statements: Iterable[str]) -> tuple[str, ...]:
    """Those that change something, without trailing blanks."""
    return tuple(
        "\n".join(line.rstrip() for line in said.strip().splitlines())
        for said in statements
        if not said.lstrip()[:6].upper().startswith(SKIPPED)
    )
