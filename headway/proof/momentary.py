"""SQL whose result depends on the time, the server or the role.

Two builds within one second agree on the day, so comparing them does not show it. Functions that
read the time, random values or names are searched in the text; in doubt they count.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import event

MOST_CHARACTERS = 32_000_000

ASKS = re.compile(
    r"""\b(?:current_(?:timestamp|date|time|user|role|catalog|database)|localtime(?:stamp)?
    |session_user|system_user|sysdate|utc_(?:date|time(?:stamp)?))\b
    |\b(?:now|\w+_timestamp|timeofday|getdate|curdate|curtime|sysdate|date|time|datetime|timestamp
    |julianday|strftime|unixepoch|timediff|age|random\w*|rand|randomblob|setseed|gen_\w+|uuid\w*
    |newid|user|database|schema|current_\w+|session_user|inet_\w+|pg_\w+|txid_\w+|version|host
    |connection_id|last_insert_\w+|changes|total_changes|sqlite_\w+|nanoid|ulid\w*)\s*\(""",
    re.IGNORECASE | re.VERBOSE,
)
WORD = re.compile(r"'\s*(?:now|today|tomorrow|yesterday)\s*'", re.IGNORECASE)
"""Words that PostgreSQL's date types replace by a point in time, also in a default."""
BARE_USER = re.compile(r"(?<![\"\w.])user(?![\"\w.])", re.IGNORECASE)
MOMENTS = {"now", "today", "tomorrow", "yesterday"}
OUTSIDE = re.compile(
    r"""\b(?:CREATE|ALTER|DROP|REASSIGN)\s+(?:ROLE|USER|GROUP|TABLESPACE|SUBSCRIPTION|DATABASE
    |SERVER|SYSTEM|OWNED)\b
    |\b(?:COMMENT|GRANT|REVOKE|SECURITY\s+LABEL)\b[^;]*\bON\s+(?:DATABASE|ROLE|TABLESPACE)\b
    |\b(?:GRANT|REVOKE)\b(?![^;]*\bON\b)
    |\bATTACH\b(?!\s+PARTITION)|\bDETACH\s+DATABASE|\bVACUUM\b[^;]*\bINTO\b|\bload_extension\b
    |\bdblink|\bCOPY\b|\bNOTIFY\b|\bpg_notify\b|\blo_\w+\s*\(|\bpg_(?:read|ls|stat)_\w+""",
    re.IGNORECASE | re.VERBOSE,
)
"""Objects outside of the database's tables, and functions that read there."""

COMMENTS = re.compile(r"^(?:\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)+", re.DOTALL)
TABLE = re.compile(
    r"(?:CREATE\s+(?:\w+\s+)?TABLE(?:\s+IF\s+NOT\s+EXISTS)?|ALTER\s+TABLE(?:\s+IF\s+EXISTS)?"
    r"(?:\s+ONLY)?)\s+(?P<name>(?:[\"`]?[^\s\"`(.]+[\"`]?\.)?[\"`]?[^\s\"`(]+[\"`]?)",
    re.IGNORECASE,
)
AT_ONCE = re.compile(r"\bAS\s*\(?\s*(?:SELECT|WITH|VALUES|TABLE|EXECUTE)\b|\bFOR\s+VALUES\b|;\s*\S")
LATER = re.compile(
    r"CREATE\s+(?:OR\s+REPLACE\s+)?(?:TEMP(?:ORARY)?\s+|CONSTRAINT\s+|EVENT\s+|RECURSIVE\s+)?"
    r"(?:FUNCTION|PROCEDURE|TRIGGER|VIEW|RULE|POLICY)\b",
    re.IGNORECASE,
)
WRITES = re.compile(
    r"(?:INSERT|UPDATE|DELETE|MERGE|REPLACE|COPY|CALL|DO|EXECUTE|WITH)\b", re.IGNORECASE
)


@dataclass
class Trace:
    """The statements that a run sends: their digest, and their text."""

    statements: list[str] = field(default_factory=list)
    characters: int = 0
    version_table: str = "alembic_version"
    moment: bool = False
    """True if a value is a word that the server replaces by a point in time."""
    _digest: Any = field(default_factory=hashlib.sha256)

    def watch(self, migration: MigrationContext) -> None:
        """Record every statement of this context's connection from now on."""
        assert migration.connection is not None  # noqa: S101  # it runs online
        self.version_table = str(migration.version_table)
        event.listen(migration.connection, "before_cursor_execute", self._on_statement)

    @property
    def digest(self) -> str:
        """A digest of the statements and their values."""
        return str(self._digest.hexdigest())

    def _on_statement(
        self, _connection: Any, _cursor: Any, sql: str, parameters: Any, *_: Any
    ) -> None:
        self._digest.update(f"{sql}\n{parameters!r}\n".encode())
        self.moment = self.moment or _names_moment(parameters)
        self.characters += len(sql)
        if self.characters <= MOST_CHARACTERS:
            self.statements.append(COMMENTS.sub("", sql))

    def why_momentary(self, filled: Collection[str], dialect: str) -> str | None:
        """Why the result may differ the next time; None if it cannot.

        `filled` are the tables that have rows in the end.
        """
        if self.characters > MOST_CHARACTERS:
            return "it sends too much to be looked into"
        if self.moment:
            return "it writes a word that the server takes for a moment"
        for sql in self.statements:
            if found := OUTSIDE.search(sql):
                return f"it speaks of more than its database: {found[0]}"
        for sql in filter(self._is_own, self.statements):
            if dialect != "sqlite" and (found := WORD.search(sql)):
                return f"it names a moment: {found[0]}"
            found = ASKS.search(sql) or (BARE_USER.search(sql) if dialect != "sqlite" else None)
            if found and self._counts(sql, filled):
                return f"it asks the server for {found[0].strip(' (')}"
        return None

    def _is_own(self, sql: str) -> bool:
        """False for catalog queries of Alembic and SQLAlchemy, which leave nothing."""
        return not (sql.startswith(("SELECT pg_catalog.", "PRAGMA ")) or "pg_catalog." in sql[:400])

    def _counts(self, sql: str, filled: Collection[str]) -> bool:
        """False if the statement concerns future rows only, and no rows were ever written."""
        written = [one for one in self.statements if self._writes(one)]
        if LATER.match(sql):
            return bool(filled or written)
        table = TABLE.match(sql)
        if not table or AT_ONCE.search(sql):
            return True
        name = re.sub(r'["`]', "", table["name"]).rpartition(".")[2]
        word = re.compile(rf"\b{re.escape(name)}\b", re.IGNORECASE)
        return name in filled or any(word.search(one) for one in written)

    def _writes(self, sql: str) -> bool:
        is_version = re.match(rf"\w+ (?:INTO |FROM )?\W?{self.version_table}\b", sql)
        return bool(WRITES.match(sql)) and not is_version


def _names_moment(parameters: Any) -> bool:
    if isinstance(parameters, str):
        return parameters.strip().lower() in MOMENTS
    if isinstance(parameters, dict):
        return any(map(_names_moment, parameters.values()))
    return isinstance(parameters, list | tuple) and any(map(_names_moment, parameters))
