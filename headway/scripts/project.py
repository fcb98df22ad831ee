"""An Alembic script directory as it is read: files, options, env.py."""

import contextlib
import itertools
import os
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

from alembic.config import Config
from alembic.script import Script as AlembicScript
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from headway.connections.address import Address
from headway.dialects.urls import DatabaseURL
from headway.errors import EnvironmentFailed, HeadwayError
from headway.isolation.isolated import isolated
from headway.isolation.modules import Modules
from headway.scripts.capture import capture_env, recapture_env
from headway.scripts.configuration import base_folder, config_for, configuration
from headway.scripts.directory import (
    alembic_errors,
    compiled,
    imported,
    open_directory,
    revision_of,
    without_deprecation_warnings,
)
from headway.scripts.environment import Environment, Mode
from headway.scripts.files import Scripts, stamp_of
from headway.scripts.locations import (
    above_package,
    absolute,
    folder_of,
    is_resource,
    only_compiled,
    revisions_of,
    version_folder,
)
from headway.scripts.script import Revision, Script
from headway.types import Bounded

MOST_ENVIRONMENTS = 1024
"""How many captured environments are kept, if they depend on the database or its -x arguments."""


CACHED = ("scripts", "directory", "revisions", "digest", "sourceless")
"""Attributes read from the revisions' files."""


class ScriptProject:
    """An Alembic script directory with its env.py and options. Nothing is run.

    It holds no connection, and is pickled as its location.
    """

    def __init__(self, location: str, ini: str | None, section: str = "alembic") -> None:
        self.folder = folder_of(location)
        # As it travels: another process may have another working directory.
        self.location = location if is_resource(location) else str(self.folder)
        self.ini = str(Path(ini).absolute()) if ini else None
        self.section = section
        self.config = configuration(self.folder, ini, section)
        with without_deprecation_warnings(), alembic_errors():
            base = base_folder(self.folder, self.config)
            paths = [base / path for path in self.config.get_prepend_sys_paths_list() or []]
            # Where people run Alembic, though it does not look there itself: `python -m alembic`
            # and PYTHONPATH do. And what holds the package that the scripts are in.
            paths += [base, above_package(self.folder.parent)]
            self.modules = Modules(tuple(dict.fromkeys(str(path.resolve()) for path in paths)))
            found = self.config.get_version_locations_list()
        self.version_folders = tuple(
            version_folder(absolute(place, base))
            for place in found or [str(revisions_of(self.folder))]
        )
        self._environments = Bounded(MOST_ENVIRONMENTS)
        self.kind: URL | None = None
        """The kind of database that its folders are for, if env.py sets folders for each."""
        self._kinds = Bounded(MOST_ENVIRONMENTS)
        self._base: ScriptProject = self
        self.own_folders = self.version_folders  # as its options name them
        self.memory: dict[Any, Any] = {}
        """Cached results about upgrades of this project in this process."""

    @classmethod
    def load(
        cls,
        location: str | os.PathLike[str],
        ini: str | os.PathLike[str] | None = None,
        section: str = "alembic",
    ) -> Self:
        """The project at a folder or at `package:folder`.

        `ini` names its `alembic.ini` or `pyproject.toml`, and `section` what `alembic -n` does;
        without it, one in the folder or the two above that says it belongs to this folder is used,
        and none is needed. A project that has no revision yet is one. Raises ScriptsUnreadable
        where there is no script directory or its revisions are no history.
        """
        project = cls(os.fspath(location), os.fspath(ini) if ini else None, section)
        if not project.scripts.by_id:  # read now, so that a hole is found now
            with contextlib.suppress(EnvironmentFailed):
                return project.for_kind(project.default_url, ask=True)
        return project.for_kind(project.default_url)

    @classmethod
    def shared(cls, location: str, ini: str | None = None, section: str = "alembic") -> Self:
        """A project loaded once per process, and again when a file changed: see `load`."""
        with _shared_projects_lock:
            cached = _shared_projects.get(key := (cls, location, ini, section))
            if cached and cached[0] == cached[1].stamp():
                return cast("Self", cached[1])
            fresh = cls.load(location, ini, section)
            _shared_projects[key] = (fresh.stamp(), fresh)
            return fresh

    def __reduce__(self) -> tuple[object, ...]:
        return (_unpickled, (type(self), self.location, self.ini, self.section, self.kind))

    def __repr__(self) -> str:
        return f"Project({self.location!r})"

    @cached_property
    def scripts(self) -> Scripts:
        """The revisions as files, read without importing them if possible."""
        may_be_empty = self.has_env_py or any(map(Path.is_dir, self.version_folders))
        if self.sourceless:
            found = map(compiled, self._walk())
            return Scripts.of(found, *self.version_folders, may_be_empty=may_be_empty)
        there = tuple(filter(Path.is_dir, self.version_folders))
        if not there:  # Alembic passes over those that are missing
            return Scripts.of((), *self.version_folders, may_be_empty=may_be_empty)
        return Scripts.read(
            *there,
            recursive=self._recursive,
            imports=self._imported,
            may_be_empty=may_be_empty,
        )

    def _imported(self, paths: Sequence[str]) -> list[Script]:
        with isolated(self.modules):
            return list(imported(paths))

    def for_kind(self, url: URL, x: Mapping[str, str] | None = None, *, ask: bool = False) -> Self:
        """The project for one kind of database: usually itself.

        An env.py may set `context.script.version_locations` when it runs, and so have other
        revisions for each kind. One that does not mention them is run for that only with `ask`.
        """
        if not (ask or self.chooses_folders):
            return self
        key = (url.get_backend_name(), tuple(sorted((x or {}).items())))
        found: Self | None = self._kinds.get(key)
        if found is None:
            found = self._kinds[key] = self._for_kind(url, x or {})
        return found

    def _for_kind(self, url: URL, x: Mapping[str, str]) -> Self:
        if self is not self._base:
            return cast("Self", self._base._for_kind(url, x))  # noqa: SLF001  # ours
        directory = self._directory(self.own_folders)
        before = list(directory.version_locations)
        self._capture(url, x, directory=directory)
        if [*map(str, directory.version_locations)] == before:
            return self
        found = object.__new__(type(self))
        found.__dict__ |= {k: v for k, v in self.__dict__.items() if k not in CACHED}
        found.kind, found.memory = DatabaseURL.parse(f"{url.drivername}://"), {}
        more = self.version_folders[len(self.own_folders) :]
        found.version_folders = (
            *(version_folder(os.fspath(place)) for place in directory.version_locations),
            *more,
        )
        return found

    @cached_property
    def chooses_folders(self) -> bool:
        """True if its env.py mentions `version_locations`, so that it may set them."""
        file = self.folder / "env.py"
        return file.is_file() and b"version_locations" in file.read_bytes()

    @property
    def has_env_py(self) -> bool:
        """True if there is an env.py, compiled or not."""
        return (self.folder / "env.py").is_file() or (self.folder / "env.pyc").is_file()

    @property
    def default_url(self) -> URL:
        """The URL in its options; a SQLite URL if there is none."""
        url = self.config.get_main_option("sqlalchemy.url")
        try:
            return DatabaseURL.parse(url or "sqlite://")
        except HeadwayError:  # `driver://user:pass@localhost/dbname`, as Alembic's template has it
            return DatabaseURL.parse("sqlite://")

    @cached_property
    def sourceless(self) -> bool:
        """True if compiled revisions count: by the option, or because there are no others."""
        with alembic_errors():
            if self.config.get_alembic_boolean_option("sourceless"):
                return True
        return only_compiled(self.version_folders)

    @cached_property
    def directory(self) -> ScriptDirectory:
        """Alembic's view of it, which imports every revision on first use."""
        return self._directory(self.version_folders)

    def _directory(self, folders: Sequence[Path]) -> ScriptDirectory:
        return open_directory(
            self.config,
            self.folder,
            folders,
            sourceless=self.sourceless,
            recursive=self._recursive,
        )

    @property
    def heads(self) -> tuple[str, ...]:
        """Revisions that are no other's parent."""
        return self.scripts.heads

    @property
    def labels(self) -> frozenset[str]:
        """The branch labels of its revisions."""
        return frozenset(label for one in self.scripts.by_id.values() for label in one.labels)

    @cached_property
    def revisions(self) -> tuple[Revision, ...]:
        """Every revision, oldest first."""
        by_id = self.scripts.by_id
        return tuple(
            revision_of(script, by_id[script.revision]) for script in reversed(list(self._walk()))
        )

    @property
    def environment(self) -> Environment:
        """How its env.py is used for SQLite, and why."""
        return self.environment_for(DatabaseURL.parse("sqlite://"))

    @cached_property
    def digest(self) -> str:
        """A digest of its revisions, env.py and options."""
        options = (self.config.config_file_name, self.config.toml_file_name)
        return self.scripts.digest(self.folder / "env.py", *options)

    def environment_for(
        self, url: URL, x: Mapping[str, str] | None = None, *, lent: bool = False
    ) -> Environment:
        """How its env.py is used for this database. Cached by kind of database and -x arguments.

        `lent`: the program has a connection to it, and gives that.
        """
        return self._environment(url, x or {}, lent=lent).at(url)

    def environment_of(self, address: Address, x: Mapping[str, str]) -> Environment:
        """How its env.py is used for an address; a copy is treated as its original."""
        return self.environment_for(address.project_url, x, lent=address.is_lent)

    def databases_of(self, url: URL, x: Mapping[str, str] | None = None) -> Collection[URL]:
        """The databases that its env.py migrates in one run, if it names several."""
        return self._environment(url, x or {}).databases.keys()

    def _environment(self, url: URL, x: Mapping[str, str], *, lent: bool = False) -> Environment:
        given = tuple(sorted(x.items()))
        kind = f"{url.get_backend_name()} {lent}"
        self.modules.refresh()
        previous: Environment | None = None
        for key in ((kind, ()), (kind, given), (kind, (), url), (kind, given, url)):
            cached: Environment | None = self._environments.get(key)
            if cached is None or not cached.is_current or (cached.per_database and url not in key):
                continue
            if cached.x_read is not None and given not in key:
                continue
            if cached.generation == self.modules.own.generation:
                return cached
            previous = cached
        captured = self._capture(url, x, lent=lent, previous=previous)
        captured = replace(captured, generation=self.modules.own.generation)
        key = (kind, given if captured.x_read is not None else ())  # else one serves all
        self._environments[(*key, url) if captured.per_database else key] = captured
        return captured

    def _capture(
        self,
        url: URL,
        x: Mapping[str, str],
        *,
        directory: ScriptDirectory | None = None,
        lent: bool = False,
        previous: Environment | None = None,
    ) -> Environment:
        if not self.has_env_py:
            return Environment(mode=Mode.NONE, why=f"there is no env.py in {self.folder}")
        if directory is None:
            with isolated(self.modules):
                directory = self.directory

        def config_for(url: URL) -> Config:
            return self.config_for(url, x)

        if previous:
            return recapture_env(previous, config_for, directory, url, self.modules)
        return capture_env(config_for, directory, url, self.modules, lent=lent)

    def config_for(self, url: URL, x: Mapping[str, str] | None = None) -> Config:
        """Alembic's configuration as its env.py sees it for one database."""
        return config_for(self.config, url, x)

    def forget(self) -> None:
        """Read the scripts again: a file was added."""
        for name in CACHED:
            self.__dict__.pop(name, None)
        self.memory.clear()

    def stamp(self) -> object:
        """A value that changes when a file is added, removed or written. No file is read."""
        options = filter(None, (self.config.config_file_name, self.config.toml_file_name))
        files = [Path(file) for file in options if Path(file).is_file()]
        kinds = [one.version_folders for one in self._kinds.values()]
        folders = [
            one for one in itertools.chain(self.version_folders, *kinds) if one != self.folder
        ]
        return stamp_of([self.folder], files) + stamp_of(folders, recursive=self._recursive)

    def _walk(self) -> Iterator[AlembicScript]:
        with isolated(self.modules), alembic_errors():
            return iter(list(self.directory.walk_revisions()))

    @property
    def _recursive(self) -> bool:
        return self.config.get_alembic_boolean_option("recursive_version_locations")


def _unpickled(
    cls: type[ScriptProject], location: str, ini: str | None, section: str, kind: URL | None
) -> ScriptProject:
    """A project from another process."""
    project = cls.shared(location, ini, section)
    return project.for_kind(kind, ask=True) if kind else project


_shared_projects: dict[
    tuple[type[ScriptProject], str, str | None, str], tuple[object, ScriptProject]
] = {}
_shared_projects_lock = threading.Lock()
