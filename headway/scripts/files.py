"""A script directory's files: ids, parents and checksums, read without importing.

A file whose header cannot be read for certain is imported by Alembic.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from headway.errors import ScriptsUnreadable
from headway.scripts import header
from headway.scripts.script import AUTOCOMMIT, Script, checksum

RESERVED = "@-+:"
"""Characters that no id may contain: Alembic's targets use them."""
TABLE = (
    r"""\bTABLE\b(?:[\s"'`\[\\(+]|\b(?:IF|NOT|EXISTS|ONLY)\b)*"""
    r"""(?:[\w$]+["'`\]]?\.["'`\[]?)*{}(?![\w$])"""
)
"""`CREATE TABLE IF NOT EXISTS own."item"`, in a string that may be put together of several."""


Imports = Callable[[Sequence[str]], Iterable[Script]]
"""Reads revision files by importing them."""


@dataclass(frozen=True)
class Scripts:
    """All revisions of one directory, by id."""

    by_id: Mapping[str, Script]
    folders: tuple[Path, ...] = ()

    @classmethod
    def read(
        cls,
        *folders: Path,
        recursive: bool = False,
        imports: Imports | None = None,
        may_be_empty: bool = False,
    ) -> "Scripts":
        """Read every file of some folders that Alembic takes for a revision.

        Raises ScriptsUnreadable for folders without revisions, an id that two files claim, a
        parent that no file has, or revisions that stand on each other.
        """
        scripts, odd = [], []
        for path in _revision_files(folders, recursive):
            found = _read(path)
            scripts += [found] if found else []
            odd += [] if found else [path]
        if odd:
            scripts += (imports or _imported)(odd)
        return cls.of(scripts, *folders, may_be_empty=may_be_empty)

    @classmethod
    def of(cls, scripts: Iterable[Script], *folders: Path, may_be_empty: bool = False) -> "Scripts":
        """A graph of these revisions; raises ScriptsUnreadable as `read` does."""
        place = " and ".join(str(folder) for folder in folders)
        by_id = _by_id(scripts)
        if not by_id and not may_be_empty:
            raise ScriptsUnreadable(f"There is no revision in {place}.")
        labels = _labelled(by_id)
        for script in by_id.values():
            if any(name not in by_id for name in script.depends_on):
                known = tuple(labels.get(name, name) for name in script.depends_on)
                by_id[script.id] = replace(script, depends_on=known)
        _refuse_holes(by_id, place)
        _refuse_circles(by_id, place)
        return cls(by_id, folders)

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """The revisions that no other has as a parent."""
        parents = {parent for script in self.by_id.values() for parent in script.parents}
        return tuple(sorted(self.by_id.keys() - parents))

    @property
    def ids(self) -> Collection[str]:
        """All revisions."""
        return self.by_id.keys()

    def checksum_of(self, revision: str) -> str | None:
        """The checksum of a script; None if there is none."""
        script = self.by_id.get(revision)
        return script.checksum if script else None

    def pending(self, current: tuple[str, ...]) -> tuple[str, ...]:
        """The revisions that a database at these lacks, in no order. Found out once."""
        if current not in self._pending:
            below = self.ancestors(current)
            self._pending[current] = tuple(sorted(self.by_id.keys() - below))
        return self._pending[current]

    @cached_property
    def _pending(self) -> dict[tuple[str, ...], tuple[str, ...]]:
        return {}

    def digest(self, *files: str | Path | None) -> str:
        """SHA-256 of all revisions and of these files, as far as they exist."""
        digest = hashlib.sha256()
        for script in sorted(self.by_id.values(), key=lambda script: script.id):
            digest.update(f"{script.id} {script.checksum}\n".encode())
        for file in files:
            if file and Path(file).is_file():
                digest.update(Path(file).read_bytes())
        return digest.hexdigest()

    def ancestors(self, ids: Iterable[str]) -> set[str]:
        """These revisions and all their ancestors; unknown ids are included."""
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
        """The text of all revisions and of the SQL files beside them in one, in lower case."""
        files = {Path(script.path) for script in self.by_id.values()}
        for folder in self.folders:
            places = (up.parent for up in (folder, folder.parent) if up.name == "versions")
            beside = next(places, folder)
            files.update(path for path in beside.rglob("*.sql") if path.is_file())
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(files)]
        return "\n".join(texts).lower()

    def names(self, table: str) -> bool:
        """True if a revision names this table: as a string, or in a CREATE TABLE."""
        name = table.lower()
        if any(script.path.endswith("c") for script in self.by_id.values()):
            return name in self.source  # compiled: there are no quotes to look for
        if name not in self.source:
            return False
        quoted = any(f"{mark}{name}{mark}" in self.source for mark in ('"', "'", "`"))
        made = re.compile(TABLE.format(re.escape(name)), re.IGNORECASE)
        return quoted or made.search(self.source) is not None


def stamp_of(
    folders: Iterable[Path], files: Iterable[Path] = (), *, recursive: bool = False
) -> list[tuple[str, int, int]]:
    """Name, time and size of these files and of all files in the folders that exist."""
    places = [str(folder) for folder in dict.fromkeys(folders) if folder.is_dir()]
    if recursive:
        for place, names, _ in itertools.chain(*map(os.walk, places[:])):
            places += (os.path.join(place, name) for name in names)  # noqa: PTH118
    entries: Iterator[Path | os.DirEntry[str]] = itertools.chain(files, *map(os.scandir, places))
    return [(one.name, one.stat().st_mtime_ns, one.stat().st_size) for one in entries]


def _revision_files(folders: Iterable[Path], recursive: bool) -> Iterable[str]:
    """The files that Alembic takes for revisions, each once, whatever links lead to it."""
    found: dict[str, str] = {}
    for folder in folders:
        for path, real in _files(str(folder), recursive):
            if _is_revision(real.rpartition(os.sep)[2]):
                found.setdefault(real, path)
    return found.values()


def _files(folder: str, recursive: bool) -> Iterable[tuple[str, str]]:
    """Each file of a folder with its real path. Links to folders are not followed."""
    below = []
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise ScriptsUnreadable(
            f"The script directory {folder} cannot be read: {error.strerror}."
        ) from error
    place = os.path.realpath(folder)
    for entry in found:
        if entry.is_dir():
            below += [] if entry.is_symlink() else [entry.path]
        elif entry.is_symlink():
            yield (real := os.path.realpath(entry.path)), real
        elif not folder.endswith("__pycache__"):
            yield entry.path, f"{place}{os.sep}{entry.name}"
    for inner in below if recursive else ():
        yield from _files(inner, recursive)


def _is_revision(name: str) -> bool:
    return name.endswith(".py") and not name.startswith((".#", "__init__"))


def _by_id(scripts: Iterable[Script]) -> dict[str, Script]:
    found: dict[str, Script] = {}
    for script in scripts:
        if other := found.get(script.id):
            raise ScriptsUnreadable(
                f"{other.path} and {script.path} both have the revision id {script.id}. Change one "
                "of the two ids."
            )
        if reserved := [mark for mark in RESERVED if mark in script.id]:
            raise ScriptsUnreadable(
                f"{script.path} is revision {script.id}, and the id of a revision must not hold "
                f"{' or '.join(reserved)}. Rename it."
            )
        found[script.id] = script
    return found


def _labelled(by_id: Mapping[str, Script]) -> dict[str, str]:
    """Branch labels and the revisions that have them."""
    found: dict[str, str] = {}
    for script in by_id.values():
        for label in script.labels:
            other = found.get(label) or (label if label in by_id else None)
            if other:
                raise ScriptsUnreadable(
                    f"{script.path} has the branch label {label}, which {by_id[other].path} has "
                    "already. Rename one."
                )
            found[label] = script.id
    return found


def _refuse_holes(by_id: Mapping[str, Script], folder: str) -> None:
    for script in by_id.values():
        for parent in script.parents + script.depends_on:
            if parent not in by_id:
                raise ScriptsUnreadable(
                    f"{script.path} names {parent} as its parent, and no file in {folder} has that "
                    "revision. Bring the file back."
                )


def _refuse_circles(by_id: Mapping[str, Script], folder: str) -> None:
    below = {script.id: script.parents + script.depends_on for script in by_id.values()}
    try:
        TopologicalSorter(below).prepare()
    except CycleError as error:
        circle = ", ".join(dict.fromkeys(error.args[1]))
        raise ScriptsUnreadable(
            f"The revisions in {folder} form a cycle ({circle}), so that none comes first. Correct "
            "the down_revision of one of them."
        ) from error


def _imported(paths: Sequence[str]) -> Iterable[Script]:
    from headway.scripts.directory import imported  # noqa: PLC0415  # with it Alembic

    return imported(paths)


def _read(path: str) -> Script | None:
    """A revision file's header; None if it has to be imported."""
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123  # this is what a boot costs
            source = file.read()
    except OSError as error:
        raise ScriptsUnreadable(f"{path} cannot be read: {error.strerror}.") from error
    found = header.read(source)
    if found is None:
        return None
    return Script(
        id=found.id,
        parents=found.parents,
        depends_on=found.depends_on,
        labels=found.labels,
        path=path,
        checksum=checksum(source),
        autocommits=AUTOCOMMIT in source,
    )
