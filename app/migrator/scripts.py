"""A script directory as files: ids, parents and checksums, read without importing a revision.

Alembic imports every revision to learn its parents (0.3 ms each); the assignments stand at the
top of the file and can be read there. A file that does not say them plainly is given to Alembic.
"""

import ast
import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from app.errors import ScriptsUnreadable

# `down_revision = "a"`, `down_revision: str | None = ("a", "b")`, a tuple over several lines
ASSIGNMENT = re.compile(
    rb"^(revision|down_revision|depends_on)(?:[ \t]*:[^=\n]+)?[ \t]*=[ \t]*"
    rb"(None|\"[^\"\\\n]*\"|'[^'\\\n]*'|[\(\[][^\)\]]*[\)\]])[ \t]*(?:#[^\n]*)?\r?$",
    re.MULTILINE,
)

AUTOCOMMIT = b"autocommit_block"


@dataclass(frozen=True, kw_only=True)
class Script:
    """One revision file."""

    id: str
    parents: tuple[str, ...]
    depends_on: tuple[str, ...]
    path: str
    checksum: str
    """SHA-256 of the source with its line ends as `\\n`: a checkout on Windows is no edit."""
    autocommits: bool
    """True if it leaves its transaction (`autocommit_block`), so that it can be left half-way."""


@dataclass(frozen=True)
class Scripts:
    """All revisions of one directory, by id."""

    by_id: Mapping[str, Script]

    @classmethod
    def read(cls, *folders: Path, recursive: bool = False) -> "Scripts":
        """Read every revision file of some folders.

        Raises ScriptsUnreadable for folders without revisions, an id that two files claim, or
        a parent that no file has.
        """
        paths = [path for folder in folders for path in _revision_files(folder, recursive)]
        return cls.of((script for path in paths if (script := _read(path))), *folders)

    @classmethod
    def of(cls, scripts: Iterable[Script], *folders: Path) -> "Scripts":
        """These revisions as one history, refused like those of `read`."""
        found = cls(_by_id(scripts))
        found._refuse_holes(" and ".join(str(folder) for folder in folders))
        return found

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The revisions that no other has as a parent."""
        parents = {parent for script in self.by_id.values() for parent in script.parents}
        return tuple(sorted(self.by_id.keys() - parents))

    def ancestors(self, ids: Iterable[str]) -> set[str]:
        """These revisions and all that they stand on; unknown ids count for themselves."""
        found: set[str] = set()
        todo = list(ids)
        while todo:
            revision = todo.pop()
            if revision in found:
                continue
            found.add(revision)
            if script := self.by_id.get(revision):
                todo += script.parents + script.depends_on
        return found

    @cached_property
    def source(self) -> str:
        """All revisions' text in one, to look for a word in."""
        return "\n".join(
            Path(script.path).read_text(encoding="utf-8", errors="replace")
            for script in self.by_id.values()
        )

    def names(self, table: str) -> bool:
        """True if any revision names this table."""
        if any(script.path.endswith("c") for script in self.by_id.values()):
            return table in self.source  # compiled: there are no quotes to look for
        return f'"{table}"' in self.source or f"'{table}'" in self.source

    def _refuse_holes(self, folder: str) -> None:
        if not self.by_id:
            raise ScriptsUnreadable(f"There is no revision in {folder}.")
        for script in self.by_id.values():
            for parent in script.parents + script.depends_on:
                if parent not in self.by_id:
                    raise ScriptsUnreadable(
                        f"{script.path} stands on revision {parent}, and no file in {folder} "
                        "has it. Bring the file back."
                    )


def _revision_files(folder: Path, recursive: bool) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except OSError as error:
        raise ScriptsUnreadable(
            f"The script directory {folder} cannot be read: {error.strerror}."
        ) from error
    paths = sorted(entry.path for entry in found if _is_revision(entry.name))
    if recursive:
        for entry in sorted(found, key=lambda entry: entry.name):
            if entry.is_dir() and entry.name != "__pycache__":
                paths += _revision_files(Path(entry.path), recursive)
    return paths


def _is_revision(name: str) -> bool:
    return name.endswith(".py") and name not in ("env.py", "__init__.py")


def _by_id(scripts: Iterable[Script]) -> dict[str, Script]:
    found: dict[str, Script] = {}
    for script in scripts:
        if other := found.get(script.id):
            raise ScriptsUnreadable(
                f"{other.path} and {script.path} both are revision {script.id}. Rename one."
            )
        found[script.id] = script
    return found


def _read(path: str) -> Script | None:
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # this is what a boot costs
        source = file.read()
    said = dict(ASSIGNMENT.findall(source))
    try:
        ids = {name: _ids(literal) for name, literal in said.items()}
    except (ValueError, SyntaxError):  # `("a", another)`
        ids = {}
    if b"revision" not in ids or b"down_revision" not in ids:
        return _ask_alembic(path, source)
    return Script(
        id=ids[b"revision"][0],
        parents=ids[b"down_revision"],
        depends_on=ids.get(b"depends_on", ()),
        path=path,
        checksum=checksum(source),
        autocommits=AUTOCOMMIT in source,
    )


def checksum(source: bytes) -> str:
    """The checksum that is kept for a revision's source."""
    return hashlib.sha256(source.replace(b"\r\n", b"\n")).hexdigest()


def _ids(literal: bytes) -> tuple[str, ...]:
    if literal[:1] in b"\"'":
        return (literal[1:-1].decode(),)
    if literal == b"None":
        return ()
    value = ast.literal_eval(literal.decode())
    return (value,) if isinstance(value, str) else tuple(value)


def _ask_alembic(path: str, source: bytes) -> Script | None:
    if b"revision" not in source:  # a module beside the revisions; Alembic passes it over too
        return None
    from app.migrator.directory import Directory, alembics_words

    folder = Path(path).parent
    with alembics_words():
        directory = Directory(str(folder), version_locations=[str(folder)])
        revisions = list(directory.walk_revisions())
    for script in revisions:
        if Path(script.path) == Path(path):
            return Script(
                id=script.revision,
                parents=tuple(script._versioned_down_revisions),  # noqa: SLF001  # FRAGILE
                depends_on=tuple(script._resolved_dependencies),  # noqa: SLF001  # FRAGILE
                path=path,
                checksum=checksum(source),
                autocommits=AUTOCOMMIT in source,
            )
    return None
