"""The risks of revisions of which only the SQL is available: no script is run."""

import re
from collections.abc import Iterator, Mapping

from headway.plan.risks import Risk

NAME = r"((?:\"[^\"]+\"|`[^`]+`|\[[^\]]+\]|[^\s(),;\"`\[])+)"
MAKES = re.compile(rf"CREATE TABLE (?:IF NOT EXISTS )?{NAME}", re.IGNORECASE)
FILLED = re.compile(r"\b(DEFAULT|GENERATED|AUTO_INCREMENT|IDENTITY|SERIAL)\b", re.IGNORECASE)
QUOTES = str.maketrans("", "", '"`[]')
POSTGRESQL = "postgresql"


Rule = tuple[re.Pattern[str], str, str, str]


def _rule(pattern: str, kind: str, says: str, only: str = "") -> Rule:
    pattern = pattern.replace("<table>", "ALTER TABLE (?:ONLY )?<name>").replace("<name>", NAME)
    return re.compile(pattern, re.IGNORECASE | re.DOTALL), kind, says, only


RULES = (
    _rule(r"DROP TABLE (?:IF EXISTS )?<name>", "drop", "drops {0} with all its rows"),
    _rule(r"TRUNCATE (?:TABLE )?<name>", "drop", "empties {0}"),
    _rule(r"DELETE FROM <name>", "drop", "deletes rows of {0}"),
    _rule(
        r"UPDATE (?:ONLY )?<name>",
        "rewrite",
        "changes rows of {0}: this takes long if there are many",
    ),
    _rule(
        r"<table> DROP COLUMN (?:IF EXISTS )?<name>", "drop", "drops {0}.{1} with all its values"
    ),
    _rule(
        r"<table> RENAME TO <name>",
        "rename",
        "renames {0}: a release that runs now no longer finds it",
    ),
    _rule(
        r"<table> (?:RENAME(?: COLUMN)?(?! TO)|CHANGE(?: COLUMN)?) <name> ",
        "rename",
        "renames {0}.{1}: a release that runs now no longer finds it",
    ),
    _rule(
        r"<table> ALTER COLUMN <name> (?:SET DATA )?TYPE ",
        "rewrite",
        "changes the type of {0}.{1}, and PostgreSQL may rewrite the table under an exclusive lock",
    ),
    _rule(r"<table> MODIFY (?:COLUMN )?<name> ", "rewrite", "redefines {0}.{1}"),
    _rule(r"<table> ALTER COLUMN <name> SET NOT NULL", "fill", "makes {0}.{1} not null"),
    _rule(
        r"<table> ADD (?:COLUMN )?(?!CONSTRAINT|FOREIGN|UNIQUE|PRIMARY|CHECK)<name> .*NOT NULL",
        "fill",
        "adds {0}.{1} not null and without a server default",
    ),
    _rule(
        r"CREATE UNIQUE INDEX .*? ON (?:ONLY )?<name>",
        "fill",
        "fails if two rows of {0} are the same in a new unique index",
    ),
    _rule(
        r"<table> ADD (?:CONSTRAINT \S+ )?UNIQUE",
        "fill",
        "fails if two rows of {0} are the same in a new unique constraint",
    ),
    _rule(
        r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY).*? ON (?:ONLY )?<name>",
        "lock",
        "blocks writes to {0} while an index is built",
        POSTGRESQL,
    ),
    _rule(
        r"<table> ADD (?:CONSTRAINT \S+ )?FOREIGN KEY.*?REFERENCES <name>",
        "lock",
        "locks {0} and {1} while all rows are checked",
        POSTGRESQL,
    ),
)
"""Beginnings of statements as Alembic writes them, and their risks, as in risks.py."""


MADE = {
    "table {0}": r"CREATE TABLE (?!IF NOT EXISTS)<name>",
    "column {0}.{1}": (
        r"ALTER TABLE (?:ONLY )?<name> ADD (?:COLUMN )?"
        r"(?!CONSTRAINT|FOREIGN|UNIQUE|PRIMARY|CHECK|INDEX|KEY|IF )<name>"
    ),
    "index {1}.{0}": (r"CREATE (?:UNIQUE )?INDEX (?!CONCURRENTLY|IF )<name> ON (?:ONLY )?<name>"),
}
NEW = {
    what: re.compile(pattern.replace("<name>", NAME), re.IGNORECASE)
    for what, pattern in MADE.items()
}
"""Beginnings of statements that fail where what they make is there, and what that is."""
GONE = re.compile(
    rf"(?:DROP TABLE (?:IF EXISTS )?|ALTER TABLE ){NAME}(?: RENAME TO|$)", re.IGNORECASE
)


def makes(texts: Mapping[str, str | None]) -> dict[str, str]:
    """What these revisions make, in the words of drift, -> the revision: `table city`.

    Only what fails if it is there when they begin: nothing that they have taken away before.
    """
    found: dict[str, str] = {}
    touched: set[str] = set()
    for revision, text in texts.items():
        for statement in _statements(text or ""):
            if gone := GONE.match(statement):
                touched.add(gone[1].translate(QUOTES))
            for what, pattern in NEW.items():
                if not (match := pattern.match(statement)):
                    continue
                names = [name.translate(QUOTES) for name in match.groups()]
                table = names[-1] if what.startswith("index") else names[0]
                if table not in touched:
                    found.setdefault(what.format(*names), revision)
                if what.startswith("table"):
                    touched.add(table)
    return found


def notes(texts: Mapping[str, str | None], dialect: str) -> tuple[Risk, ...]:
    """The risks of revisions in the order in which they run; None: the SQL is not available.

    Changes of a table that the same revisions create are no risk: it has no rows.
    """
    made: set[str] = set()
    found: list[Risk] = []
    for revision, text in texts.items():
        if text is None:
            says = "asks the database, so what it does is seen only when it runs: rehearse it"
            found.append(Risk(revision=revision, kind="unheard", says=says))
            continue
        for statement in _statements(text):
            if new := MAKES.match(statement):
                made.add(new[1].translate(QUOTES))
            found += [
                Risk(revision=revision, kind=kind, says=says)
                for kind, says in _statement_risks(statement, dialect, made)
            ]
    return tuple(dict.fromkeys(found))


def _statement_risks(statement: str, dialect: str, made: set[str]) -> Iterator[tuple[str, str]]:
    for pattern, kind, says, only in RULES:
        if only and only != dialect:
            continue
        if not (match := pattern.match(statement)):
            continue
        names = [name.translate(QUOTES) for name in match.groups() if name]
        if names[0] in made or ("NOT NULL" in pattern.pattern and FILLED.search(statement)):
            continue
        yield kind, says.format(*names)


def _statements(text: str) -> Iterator[str]:
    """The statements, each on one line, without comments."""
    for raw_statement in re.split(r";\s*(?:\n|$)", text):
        lines = (line for line in raw_statement.splitlines() if not line.lstrip().startswith("--"))
        if statement := " ".join(" ".join(lines).split()):
            yield statement
