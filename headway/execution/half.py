"""What a half-run revision changed, the statements that undo it, and what they leave."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from headway.dialects import Dialect, Image, dialect_of
from headway.errors import RepairFailed
from headway.execution.failures import reason

AS_SPELLED = {"no_parameters": True}
"""Statements that hold a `%` and no values."""
NAME = re.compile(r"""(?:`[^`]*`|"[^"]*"|[^\s,`"])+""")
"""A table's name as a statement spells it."""


@dataclass(frozen=True, kw_only=True)
class Half:
    """The changes of a half-run revision."""

    dialect: Dialect
    before: Image
    now: Image
    others: tuple[str, ...]
    """Objects that changed and that the script does not name: probably not the revision's."""
    note: str
    """What the image before the revision does not record."""

    @classmethod
    def found(cls, connection: Connection, stored: str, script: str | None) -> "Half":
        """Compare the schema with the stored image. `script` is the path of the revision's file."""
        dialect = dialect_of(connection)
        before, now, note = dialect.comparable(json.loads(stored), dialect.image(connection) or {})
        source = Path(script).read_bytes().decode(errors="replace") if script else None

        def is_named(key: str) -> bool:
            names = dialect.object_names(key)
            return not names or source is None or any(_names(source, name) for name in names)

        others = [
            key for key in dialect.differences(before, now) if key in now and not is_named(key)
        ]
        return cls(dialect=dialect, before=before, now=now, others=tuple(others), note=note)

    @property
    def expected(self) -> dict[str, str]:
        """The image after the undo: other people's changes stay."""
        return dict(self.before) | {key: self.now[key] for key in self.others}

    def undo_statements(self, connection: Connection) -> tuple[str, ...]:
        """The statements that undo the changes. Raises RepairRefused if data would be lost."""
        own = {key: value for key, value in self.now.items() if key not in self.others}
        own |= {key: self.before[key] for key in self.others if key in self.before}
        in_order = {key: own[key] for key in self.now if key in own}
        return tuple(self.dialect.undo(connection, self.before, in_order))

    def lines(self) -> tuple[str, ...]:
        """What a person has to check, in sentences."""
        lines = [self.note] if self.note else []
        if self.others:
            names = ", ".join(map(self.dialect.describe, self.others))
            lines.append(
                f"Created or changed since, and not named in the script, so it stays: {names}. "
                "Check that none of it was made by the revision."
            )
        return tuple(lines)

    def check(self, connection: Connection) -> None:
        """After the undo: raise RepairFailed unless the schema is as it was before."""
        image = self.dialect.image(connection) or {}
        _, found, _ = self.dialect.comparable(self.before, image)
        if not (left := self.dialect.differences(self.expected, found)):
            return
        names = ", ".join(map(self.dialect.describe, left))
        if self.dialect.transactional_ddl:
            after = "All of the repair was rolled back"
        else:
            after = "What the repair did besides stays done"
        raise RepairFailed(
            f"The statements ran, and {names} would still not be as before the revision. {after}. "
            "Fix that by hand, then repair with `--as applied` or `--as not-applied`."
        )


def _names(source: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", source) is not None


def run_repair(connection: Connection, statements: Iterable[str]) -> None:
    """Run the statements of a repair. Raises RepairFailed if the server refuses one."""
    for done, statement in enumerate(statements):
        try:
            connection.exec_driver_sql(statement, execution_options=AS_SPELLED)
        except DBAPIError as error:
            if dialect_of(connection).transactional_ddl:
                after = "All of the repair was rolled back."
            else:
                after = f"{done} statements before it are done and stay; repair again for the rest."
            raise RepairFailed(
                f"The repair failed at `{statement}`: {reason(error)}. {after} Or fix it by hand, "
                "then repair with `--as applied` or `--as not-applied`."
            ) from error


def rows_in(connection: Connection, statements: Iterable[str]) -> tuple[str, ...]:
    """Tables that these statements drop and that hold rows, with their counts."""
    dropped = " ".join(
        s.removeprefix("DROP TABLE ") for s in statements if s.startswith("DROP TABLE ")
    )
    lines = []
    for name in NAME.findall(dropped):
        query = f"SELECT count(*) FROM {name}"  # noqa: S608
        count = connection.exec_driver_sql(query, execution_options=AS_SPELLED).scalar()
        if count:
            lines.append(f"{name} holds {count} rows")
    return tuple(lines)
