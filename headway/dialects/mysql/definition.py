"""A MySQL or MariaDB table's definition, parsed from SHOW CREATE TABLE."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

NAME = r"`(?:[^`]|``)+`"

TEXT = r"'(?:[^'\\]|''|\\.)*'"

PART = re.compile(
    rf"(?P<column>{NAME}) |(?P<primary>PRIMARY KEY)|PERIOD FOR (?P<period>SYSTEM_TIME|{NAME})"
    rf"|(?:(?:UNIQUE|FULLTEXT|SPATIAL|VECTOR) )?KEY (?P<key>{NAME})"
    rf"|CONSTRAINT (?P<constraint>{NAME}) (?P<what>FOREIGN KEY|CHECK)"
)

TYPE = re.compile(
    rf"{NAME} (?P<type>\w+(?:\((?:{TEXT}|[^)'])*\))?(?: unsigned)?(?: zerofill)?)"
    r"(?: CHARACTER SET (?P<charset>\w+))?(?: COLLATE (?P<collation>\w+))?"
)

OPTION = re.compile(
    rf"(?P<name>DEFAULT CHARSET|(?:DATA|INDEX) DIRECTORY|{NAME}|[A-Z_]+)"
    rf"=(?P<value>{TEXT}|\([^)]*\)|\S+)|(?P<versioned>WITH SYSTEM VERSIONING)"
)

HIDDEN = re.compile(r" (?:IGNORED|/\*!80000 INVISIBLE \*/)")
"""How MariaDB and MySQL say that a key is there and not used."""

INTEGERS = ("tinyint", "smallint", "mediumint", "int", "bigint")

TEXTS = ("char", "varchar", "tinytext", "text", "mediumtext", "longtext")

BYTES = ("varbinary", "tinyblob", "blob", "mediumblob", "longblob")

ALL_OF = {"utf8mb4": {"*"}, "utf8mb3": {"latin1", "ascii"}, "utf8": {"latin1", "ascii"}}
"""Character sets, and the other sets whose characters they can all store."""


@dataclass
class Table:
    """One table definition, parsed."""

    columns: dict[str, str] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    """What stands on the columns, by the clause that drops it."""
    options: dict[str, str] = field(default_factory=dict)
    versioned: bool = False
    partitions: str = ""

    @classmethod
    def parsed(cls, definition: str) -> "Table":
        """A table parsed from the output of SHOW CREATE TABLE."""
        table = cls()
        _, *lines = definition.split("\n")
        for place, line in enumerate(lines):
            if line.startswith(")"):
                table._close(line, "\n".join(lines[place + 1 :]))
                return table
            table._add(line.strip().removesuffix(","))
        return table

    def _add(self, line: str) -> None:
        found = PART.match(line)
        if found and found["column"]:
            self.columns[found["column"]] = line
        else:
            self.keys[_drop(line, found)] = line

    def _close(self, line: str, partitions: str) -> None:
        for found in OPTION.finditer(line):
            if found["versioned"]:
                self.versioned = True
            else:
                self.options[found["name"]] = found["value"]
        self.partitions = partitions

    def alike(self) -> object:
        """What must be the same. A key that was made again stands last: that is no difference."""
        options = (sorted(self.options.items()), self.versioned, self.partitions)
        return list(self.columns.values()), sorted(self.keys.values()), options

    def text_of(self, line: str) -> tuple[str, str, str]:
        """Type, character set and collation of a column, with the table's defaults filled in."""
        found = TYPE.match(line)
        if not found:
            return line, "", ""
        if not re.match(r"(tiny|medium|long)?text|(var)?char|enum|set", found["type"]):
            return found["type"], "", ""
        charset = found["charset"] or self.options.get("DEFAULT CHARSET", "")
        default = self.options.get("COLLATE", "") if not found["charset"] else ""
        return found["type"], charset, found["collation"] or default


def _drop(line: str, found: re.Match[str] | None) -> str:
    if found is None:
        return f"? {line}"
    if found["primary"]:
        return "DROP PRIMARY KEY"
    if found["period"]:
        return f"DROP PERIOD FOR {found['period']}"
    if found["key"]:
        return f"DROP INDEX {found['key']}"
    kind = "FOREIGN KEY" if found["what"] == "FOREIGN KEY" else "CONSTRAINT"
    return f"DROP {kind} {found['constraint']}"


def _is_generated(line: str) -> bool:
    """True for a column that is computed from others. One of a period is not."""
    return " GENERATED ALWAYS AS (" in line


def _has_all(charset: str, other: str) -> bool:
    return bool({"*", other} & ALL_OF.get(charset, set()))


def _holds(old: str, new: str) -> bool:
    """True if every value of one type is whole in the other, and comes back as it was."""
    one, other = _parts(old), _parts(new)
    if one.unsigned == other.unsigned and {one.name, other.name} <= set(INTEGERS):
        return INTEGERS.index(one.name) <= INTEGERS.index(other.name)
    for family in (TEXTS, BYTES):
        if {one.name, other.name} <= set(family) and one.name != "char":
            grows = family.index(one.name) <= family.index(other.name)
            return grows and (one.name != other.name or one.sizes <= other.sizes)
    if one.name != other.name or one.unsigned != other.unsigned:
        return False
    if one.name == "decimal":
        (digits, scale), (more, wider) = (_two(part.sizes) for part in (one, other))
        return scale <= wider and digits - scale <= more - wider
    if one.name in ("enum", "set"):
        return set(one.members) <= set(other.members)
    sized = ("char", "datetime", "timestamp", "time", "bit")
    return one.name in sized and one.sizes <= other.sizes


@dataclass(frozen=True)
class _Type:
    name: str
    sizes: tuple[int, ...]
    members: tuple[str, ...]
    unsigned: bool


def _parts(type_: str) -> _Type:
    name, _, inside = type_.partition("(")
    members = tuple(re.findall(TEXT, inside))
    sizes = () if members else tuple(map(int, re.findall(r"\d+", inside)))
    return _Type(name.split(" ")[0], sizes, members, type_.endswith(("unsigned", "zerofill")))


def _two(sizes: Iterable[int]) -> tuple[int, int]:
    first, second, *_ = (*sizes, 10, 0)
    return first, second


def alike(definition: str) -> object:
    """What must be the same of two definitions of a table."""
    return Table.parsed(definition).alike()


def named(before: Mapping[str, str], now: Mapping[str, str], name: str) -> str | None:
    """The table that has the definition which this one had: it may have been renamed."""
    wanted = alike(before[f"table\n{name}"])
    for key, definition in now.items():
        kind, _, other = key.partition("\n")
        if kind == "table" and key not in before and alike(definition) == wanted:
            return other
    return None
