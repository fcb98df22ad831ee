"""ALTER clauses that take a MySQL or MariaDB table back to an earlier definition."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from headway.dialects.mysql.definition import (
    HIDDEN,
    NAME,
    TYPE,
    Table,
    _has_all,
    _holds,
    _is_generated,
)
from headway.dialects.mysql.image import quoted

PARTITION = re.compile(rf"^ ?\(?PARTITION ({NAME}) ", re.MULTILINE)
NO_OPTION = {
    **dict.fromkeys(("COMMENT", "CONNECTION"), "''"),
    **dict.fromkeys(("KEY_BLOCK_SIZE", "MAX_ROWS", "MIN_ROWS", "AVG_ROW_LENGTH"), "0"),
    **dict.fromkeys(("CHECKSUM", "DELAY_KEY_WRITE", "PAGE_CHECKSUM"), "0"),
    **dict.fromkeys(("ROW_FORMAT", "PACK_KEYS", "TRANSACTIONAL"), "DEFAULT"),
    **dict.fromkeys(("STATS_PERSISTENT", "STATS_AUTO_RECALC", "STATS_SAMPLE_PAGES"), "DEFAULT"),
}
"""How an option is taken off again."""
KEEP_ROWS = {"InnoDB", "MyISAM", "Aria", "MEMORY", "ROCKSDB", "ARCHIVE"}
"""Engines into which a table goes and comes back with its rows."""

Ask = Callable[[str], bool]
"""True if a query has a row."""


@dataclass
class TableUndo:
    """The clauses that restore one table's definition, and what they cannot restore."""

    name: str
    old: Table
    new: Table
    ask: Ask
    gone: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    """Foreign keys go before anything else does."""
    clauses: list[str] = field(default_factory=list)
    last: list[str] = field(default_factory=list)
    """What looks at other columns or tables comes when they are as they were."""

    @classmethod
    def between(cls, name: str, before: str, now: str, ask: Ask) -> "TableUndo":
        """The way from one definition to the other."""
        way = cls(name, Table.parsed(before), Table.parsed(now), ask)
        if way.old.alike() == way.new.alike():
            return way
        way._versioning()
        way._keys()
        way._columns()
        way._options()
        return way

    def statements(self) -> tuple[list[str], list[str], list[str]]:
        """The statements in three groups: to run first, in the middle, and last."""
        alter = f"ALTER TABLE {quoted(self.name)}"
        main = [f"{alter} {', '.join(self.clauses)}"] if self.clauses else []
        main += self._partitions(alter)
        return (
            [f"{alter} {clause}" for clause in self.first],
            main,
            [f"{alter} {clause}" for clause in self.last],
        )

    def _versioning(self) -> None:
        if self.old.versioned and not self.new.versioned:
            self.lost.append(f"the system versioning of {self.name}, and the history of its rows")
        elif self.new.versioned and not self.old.versioned:
            self.clauses.append("DROP SYSTEM VERSIONING")

    def _keys(self) -> None:
        old, new = self.old.keys, self.new.keys
        changed = [key for key in new if key in old and old[key] != new[key]]
        gone = [key for key in old if key not in new]
        added = [key for key in new if key not in old]
        for key in changed[:]:
            if HIDDEN.sub("", old[key]) == HIDDEN.sub("", new[key]):
                name = key.removeprefix("DROP INDEX ")
                self.clauses.append(f"ALTER INDEX {name} {_shown(old[key], new[key])}")
                changed.remove(key)
        for key in added + changed:
            if key.startswith("?") or key == "DROP PERIOD FOR SYSTEM_TIME":
                continue  # the one is said below; the other goes with its columns
            if key.startswith("DROP FOREIGN KEY"):
                self.first.append(key)
            else:
                self.clauses.append(key)
        for key in gone + changed + [key for key in added if key.startswith("?")]:
            if key.startswith("?"):
                self.lost.append(f"{key[2:]} of {self.name}")
            elif "CONSTRAINT" in old[key].partition("`")[0]:
                self.last.append(f"ADD {old[key]}")
            elif key != "DROP PERIOD FOR SYSTEM_TIME":
                self.clauses.append(f"ADD {old[key]}")

    def _columns(self) -> None:
        old, new = self.old.columns, self.new.columns
        stays = [column for column in new if column in old]
        for column in new:
            if column not in old:
                self.clauses.append(f"DROP COLUMN {column}")
        moved = [column for column in old if column in new] != stays
        places = dict(pairwise([None, *old]))
        after = {column: f"AFTER {before}" for before, column in places.items() if before}
        for column, line in old.items():
            place = after.get(column, "FIRST")
            if column not in new:
                if not _is_generated(line):
                    self.gone.append(f"{column} of {self.name}")
                self.clauses.append(f"ADD COLUMN {line} {place}")
            elif _is_generated(line) and line != new[column]:
                self.clauses += [f"DROP COLUMN {column}", f"ADD COLUMN {line} {place}"]
            elif self._differs(column):
                self._retyped(column)
                where = f" {place}" if moved else ""
                self.clauses.append(f"MODIFY COLUMN {self._with_charset(column)}{where}")
            elif moved:
                self.clauses.append(f"MODIFY COLUMN {self._with_charset(column)} {place}")

    def _differs(self, column: str) -> bool:
        before, now = self.old.columns[column], self.new.columns[column]
        return before != now or self.old.text_of(before) != self.new.text_of(now)

    def _with_charset(self, column: str) -> str:
        """The column's line, with the character set that it had from the table's default."""
        line = self.old.columns[column]
        _, charset, collation = self.old.text_of(line)
        found = TYPE.match(line)
        if not charset or found is None or self.old.options == self.new.options:
            return line
        clause = f" CHARACTER SET {charset}" + (f" COLLATE {collation}" if collation else "")
        return line[: found.end("type")] + clause + line[found.end() :]

    def _retyped(self, column: str) -> None:
        """Record a change of type in which values may have been cut or converted."""
        before, now = self.old.columns[column], self.new.columns[column]
        old, new = self.old.text_of(before), self.new.text_of(now)
        if old[0] == new[0] and old[1] == new[1] and not _is_generated(now):
            return
        holds = f"SELECT 1 FROM {quoted(self.name)} WHERE {column} IS NOT NULL"  # noqa: S608
        if not self.ask(f"{holds} LIMIT 1"):
            return
        if _is_generated(now):
            self.lost.append(f"the values of {column} of {self.name}, which are generated now")
        elif old[0] != new[0] and not _holds(old[0], new[0]):
            self.lost.append(
                f"what of {column} of {self.name} did not fit as it went from {old[0]} to {new[0]}"
            )
        elif (
            old[1] != new[1]
            and not _has_all(new[1], old[1])
            and self.ask(f"{holds} AND {column} LIKE '%?%' LIMIT 1")
        ):
            self.lost.append(
                f"characters of {column} of {self.name} that {new[1]} may lack: some of its "
                "values hold a ?, which may have been another character"
            )

    def _options(self) -> None:
        old, new = self.old.options, self.new.options
        engines = {old.get("ENGINE"), new.get("ENGINE")}
        if len(engines) > 1 and not engines <= KEEP_ROWS:
            self.lost.append(f"the rows of {self.name}: its engine was changed")
        if old.get("DEFAULT CHARSET") != new.get("DEFAULT CHARSET") or (
            old.get("COLLATE") != new.get("COLLATE")
        ):
            collate = f" COLLATE={old['COLLATE']}" if "COLLATE" in old else ""
            self.clauses.append(f"DEFAULT CHARSET={old.get('DEFAULT CHARSET')}{collate}")
        for name in sorted(old.keys() | new.keys(), key=lambda name: (name != "ENGINE", name)):
            if name in ("DEFAULT CHARSET", "COLLATE") or old.get(name) == new.get(name):
                continue
            default = "DEFAULT" if name.startswith("`") else NO_OPTION.get(name)
            value = old.get(name, default)
            if value is None:
                self.lost.append(f"the option {name} of {self.name}")
            self.clauses.append(f"{name}={value}")

    def _partitions(self, alter: str) -> list[str]:
        before, now = self.old.partitions, self.new.partitions
        if before == now:
            return []
        if not before:
            return [f"{alter} REMOVE PARTITIONING"]
        had, has = PARTITION.findall(before), PARTITION.findall(now)
        ranges = re.compile(r"PARTITION BY (RANGE|LIST|SYSTEM_TIME)")
        added: list[str] = []
        if ranges.search(before) and ranges.search(now):
            if missing := [name for name in had if name not in has]:
                self.lost.append(f"the partition {', '.join(missing)} of {self.name}")
            added = [name for name in has if name not in had]
        if added:
            rows = f"SELECT 1 FROM {quoted(self.name)} PARTITION"  # noqa: S608
            self.lost += [
                f"the partition {name} of {self.name}, which was added and holds rows by now"
                for name in added
                if self.ask(f"{rows} ({name}) LIMIT 1")
            ]
            return [f"{alter} DROP PARTITION {', '.join(added)}"]
        return [f"{alter} {before.strip()}"]


def _shown(old: str, new: str) -> str:
    """The clause that makes a key used, or not used, as before."""
    visible = "INVISIBLE" in old + new
    if HIDDEN.search(old):
        return "INVISIBLE" if visible else "IGNORED"
    return "VISIBLE" if visible else "NOT IGNORED"
