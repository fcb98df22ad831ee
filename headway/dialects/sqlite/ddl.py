"""SQLite's CREATE statements, parsed as far as comparing needs it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from headway.dialects.names import folded

TOKEN = re.compile(
    r"""--[^\n]*|/\*.*?\*/            # comments
    |[xX]?'(?:[^']|'')*'              # text and blobs
    |"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\]   # quoted names
    |[^\W\d][\w$]*|\d[\w.]*           # words and numbers
    |<<|>>|<=|>=|<>|!=|==|\|\||->>?|\S""",
    re.VERBOSE | re.DOTALL,
)
WORD = re.compile(r"[^\W\d]\w*")
TABLE_CONSTRAINTS = {"constraint", "primary", "unique", "check", "foreign"}
ENDS_DEFAULT = {
    *("constraint", "primary", "not", "null", "unique", "check", "collate", "references"),
    *("generated", "as", "default", "on"),
}


@dataclass(frozen=True)
class Term:
    """One column or expression of an index."""

    expression: str
    collation: str = ""
    desc: bool = False


@dataclass(frozen=True)
class IndexShape:
    """An index without its name."""

    unique: bool
    terms: tuple[Term, ...]
    where: str

    def mentions(self, columns: set[str]) -> bool:
        """True if it stands on one of these columns."""
        text = " ".join([*(term.expression for term in self.terms), self.where]).split()
        return not columns.isdisjoint(text)


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One clause of a table's definition beyond its columns and their types."""

    says: str
    """The clause as a person reads it: `ON DELETE CASCADE`."""
    columns: tuple[str, ...] = ()
    of_column: bool = False
    """True if the clause belongs to one column."""
    is_constraint: bool = False
    name: str = ""
    word: str = ""
    """The keyword that a script uses if it means to change the clause."""

    def under(self, names: Mapping[str, str]) -> "Clause":
        """This clause with its columns renamed."""
        says = WORD.sub(lambda found: names.get(found[0], found[0]), self.says)
        columns = tuple(names.get(column, column) for column in self.columns)
        return replace(self, says=says, columns=columns, name="")

    @property
    def bare(self) -> "Clause":
        """This clause without its name: a rebuild may name a clause that had none."""
        return replace(self, name="")


@dataclass(frozen=True)
class TableShape:
    """A table's definition, parsed."""

    columns: Mapping[str, str]
    """Columns in their order, with their declared types."""
    facts: tuple[Clause, ...]
    """All other clauses of the definition."""


@lru_cache(maxsize=512)
def index_shape(sql: str) -> IndexShape:
    """What a `CREATE INDEX` makes."""
    tokens = _tokens(sql)
    start = tokens.index("(") if "(" in tokens else len(tokens)
    end = _closing(tokens, start)
    where = tokens[end + 2 :] if tokens[end + 1 : end + 2] == ["where"] else []
    terms = tuple(_term(part) for part in _parts(tokens[start + 1 : end]))
    return IndexShape("unique" in tokens[:start], terms, " ".join(where))


@lru_cache(maxsize=512)
def table_shape(sql: str) -> TableShape:
    """What a `CREATE TABLE` makes."""
    tokens = _tokens(sql)
    if "(" not in tokens:  # CREATE TABLE … AS SELECT is kept with its columns: never here
        return TableShape({}, ())
    start = tokens.index("(")
    end = _closing(tokens, start)
    columns: dict[str, str] = {}
    facts: list[Clause] = []
    for part in _parts(tokens[start + 1 : end]):
        if part[0] in TABLE_CONSTRAINTS:
            facts += _constraints(part, ())
        else:
            column = _plain(part[0])
            columns[column] = _declared(part[1:])
            facts += _of_column(column, part[1:])
    facts += _options(tokens[end + 1 :])
    return TableShape(columns, tuple(_with_columns(fact, columns) for fact in facts))


def _tokens(sql: str) -> list[str]:
    """The tokens of a statement: lower case, and without quotes where names need none."""
    found = []
    for word in TOKEN.findall(sql):
        if word.startswith(("--", "/*")):
            continue
        if word[0] in '"`[' and re.fullmatch(r"[^\W\d]\w*", word[1:-1]):
            plain = folded(word[1:-1])
            found.append(f'"{plain}"' if plain in TABLE_CONSTRAINTS else plain)
        else:
            found.append(word if word[0] in "'\"`[" else folded(word))
    return found


def _closing(tokens: Sequence[str], start: int) -> int:
    depth = 0
    for place in range(start, len(tokens)):
        depth += (tokens[place] == "(") - (tokens[place] == ")")
        if depth == 0 and tokens[place] == ")":
            return place
    return len(tokens)


def _parts(tokens: Sequence[str]) -> list[list[str]]:
    """Split at the commas that are in no parentheses."""
    found: list[list[str]] = [[]]
    depth = 0
    for word in tokens:
        depth += (word == "(") - (word == ")")
        if word == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(word)
    return [part for part in found if part]


def _term(part: list[str]) -> Term:
    desc, collation = False, ""
    if part[-1:] in (["desc"], ["asc"]):
        desc = part[-1] == "desc"
        part = part[:-1]
    if part[-2:-1] == ["collate"]:
        collation = part[-1].upper()
        part = part[:-2]
    return Term(" ".join(part), collation, desc)


def _plain(word: str) -> str:
    return folded(word[1:-1]) if word[0] in "\"`['" else word


def _declared(tokens: Sequence[str]) -> str:
    found = []
    for word in tokens:
        if word in ENDS_DEFAULT:
            break
        found.append(word)
    return " ".join(found)


def _of_column(column: str, tokens: list[str]) -> Iterator[Clause]:
    yield from _constraints(tokens, (column,))
    depth = 0
    for place, word in enumerate(tokens):
        depth += (word == "(") - (word == ")")
        after = tokens[place + 1 : place + 2]
        if depth:
            continue
        if word == "collate" and after and after != ["binary"]:
            says = f"COLLATE {_plain(after[0]).upper()}"
            yield Clause(says=says, columns=(column,), of_column=True, word="collat")
        elif word == "as" and after == ["("]:
            yield Clause(says="GENERATED", columns=(column,), of_column=True, word="computed")
        elif word == "default":
            value = _default(tokens[place + 1 :])
            says = f"DEFAULT {value}"
            yield Clause(says=says, columns=(column,), of_column=True, word="server_default")
        elif word == "autoincrement":
            yield Clause(says="AUTOINCREMENT", word="autoincrement")


def _default(tokens: list[str]) -> str:
    """The value, without parentheses that only stand around it."""
    if tokens[:1] == ["("]:
        value = tokens[1 : _closing(tokens, 0)]
        while value[:1] == ["("] and _closing(value, 0) == len(value) - 1:
            value = value[1:-1]
    else:
        value = tokens[: 2 if tokens[:1] in (["-"], ["+"]) else 1]
    return " ".join(value)


def _constraints(tokens: list[str], columns: tuple[str, ...]) -> Iterator[Clause]:
    """The constraints of a table, or of one of its columns."""
    name, depth = "", 0
    for place, word in enumerate(tokens):
        depth += (word == "(") - (word == ")")
        if depth:
            continue
        rest = tokens[place + 1 :]
        if word == "constraint" and rest:
            name = _plain(rest[0])
        elif word == "check" and rest[:1] == ["("]:
            says = f"CHECK ({' '.join(_stripped(rest[1 : _closing(rest, 0)]))})"
            yield Clause(says=says, is_constraint=True, name=name)
            name = ""
        elif word == "unique":
            own = columns or _names(rest)
            says = f"UNIQUE ({', '.join(own)})"
            yield Clause(says=says, columns=own, is_constraint=True, name=name)
            name = ""
        elif word == "foreign":
            columns = _names(rest)
        elif word == "references":
            yield from _reference(rest, columns, name)
            name = ""
        elif word == "conflict" and rest and rest[0] != "abort":
            yield Clause(says=f"ON CONFLICT {rest[0].upper()}", columns=columns, is_constraint=True)


def _stripped(tokens: list[str]) -> list[str]:
    while tokens[:1] == ["("] and _closing(tokens, 0) == len(tokens) - 1:
        tokens = tokens[1:-1]
    return tokens


def _names(tokens: list[str]) -> tuple[str, ...]:
    """The first list in parentheses, as names."""
    if "(" not in tokens:
        return ()
    start = tokens.index("(")
    inside = _parts(tokens[start + 1 : _closing(tokens, start)])
    return tuple(_plain(part[0]) for part in inside)


def _reference(tokens: list[str], columns: tuple[str, ...], name: str) -> Iterator[Clause]:
    text = ", ".join(columns)
    yield Clause(says=f"FOREIGN KEY ({text})", columns=columns, is_constraint=True, name=name)
    for place, word in enumerate(tokens):
        rest = tokens[place + 1 :]
        if word == "on" and rest[:1] in (["delete"], ["update"]) and rest[1:2] != ["no"]:
            act = " ".join(rest[1:3] if rest[1:2] == ["set"] else rest[1:2])
            says = f"ON {rest[0]} {act}".upper()
        elif word == "deferrable" and tokens[place - 1] != "not":
            says = " ".join(["deferrable", *rest[:2]] if rest[:1] == ["initially"] else [word])
            says = says.upper()
        else:
            continue
        yield Clause(
            says=f"{says} of foreign key ({text})",
            columns=columns,
            is_constraint=True,
            name=name,
        )


def _options(tokens: Sequence[str]) -> Iterator[Clause]:
    text = " ".join(tokens)
    if "without rowid" in text:
        yield Clause(says="WITHOUT ROWID", word="rowid")
    if "strict" in tokens:
        yield Clause(says="STRICT", word="strict")


def _with_columns(fact: Clause, columns: Mapping[str, str]) -> Clause:
    """A CHECK clause with the columns that it uses."""
    if not fact.says.startswith("CHECK"):
        return fact
    text = WORD.findall(fact.says)
    return replace(fact, columns=tuple(name for name in columns if name in text))
