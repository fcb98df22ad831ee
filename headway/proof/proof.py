"""Proof that revisions send the same SQL whatever the database, time and environment.

The revisions are imported again, so that no variables are left of an earlier run, and run without a
database for two other URLs, while what they read is watched.
"""

import copy
import functools
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util.pyfiles import load_python_file
from sqlalchemy import URL, text
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.exc import CompileError
from sqlalchemy.schema import DDLElement

from headway.plan.sql import Span, Statements, write
from headway.proof.names import variables
from headway.proof.reads import Reads

Rendering = list[str]


class Unproven(Exception):
    """Raised to end a build whose revisions have read something that may differ."""


def reads_of(steps: Iterable[Any], *, connected: bool = False) -> Reads:
    """A watcher of what the revisions of these steps read."""
    paths = [str(step.revision.path) for step in steps]
    own = frozenset(paths) | frozenset(map(os.path.abspath, paths))
    return Reads(own, connected=connected)


def freshly_imported(steps: Sequence[Any], reads: Reads) -> list[Any]:
    """Copies of the steps with freshly imported modules, watched at import and when they run."""
    return [_fresh_step(step, reads) for step in steps]


def _fresh_step(step: Any, reads: Reads) -> Any:
    with reads.watching():
        module = _imported(step)
    again = copy.copy(step)
    again.migration_fn = _watched(getattr(module, _direction(step)), module, reads)
    return again


def _imported(step: Any) -> ModuleType:
    path = Path(step.revision.path)
    return load_python_file(path.parent, path.name)


def _direction(step: Any) -> str:
    return "upgrade" if step.is_upgrade else "downgrade"


def _watched(work: Callable[..., None], module: ModuleType, reads: Reads) -> Callable[..., None]:
    @functools.wraps(work)  # Alembic logs its name
    def run(**arguments: Any) -> None:
        before = variables(module)
        with reads.watching():
            work(**arguments)
        if variables(module) != before:
            reads.note(f"{Path(str(module.__file__)).name} keeps something in its variables")
        if reads.why and reads.connected:
            raise Unproven(reads.why)  # the rest need not be run

    return run


def renderings(span: Span, dialect: Dialect, steps: Sequence[Any], reads: Reads) -> list[Rendering]:
    """The SQL of these steps for two other URLs. Call within `isolated`."""
    again = freshly_imported(steps, reads)
    found = []
    for place in elsewhere(span.address.url):
        buffer = Statements()
        config = recording_config(span.project.config_for(place, span.x), reads)
        migration = write(span, dialect, buffer, config=config, steps=again)
        end = migration.impl.command_terminator
        found.append([text.removesuffix(end).strip() for text in buffer.found])
    return found


def elsewhere(url: URL) -> list[URL]:
    """Two other URLs of the same kind of database. No such database is there."""
    if url.get_backend_name() == "sqlite":
        return [url.set(database=f"/elsewhere/{name}.db") for name in ("one", "other")]
    return [
        url.set(username=name, password=name, host=f"{name}.invalid", port=port, database=name)
        for name, port in (("one", 1), ("other", 2))
    ]


def rendered_literally(construct: Any, migration: MigrationContext) -> str:
    """The statement as Alembic's offline mode writes it (`DefaultImpl._exec`)."""
    if isinstance(construct, str):
        construct = text(construct)
    values = {} if isinstance(construct, DDLElement) else {"literal_binds": True}
    try:
        written = str(construct.compile(dialect=migration.dialect, compile_kwargs=values))
    except CompileError as error:
        return f"cannot be rendered: {error}"
    return written.replace("\t", "    ").strip()


def only_steps(rendering: Rendering, version_table: str) -> Rendering:
    """What the revisions and their versions send, without what Alembic writes around them."""
    return [
        written
        for written in rendering
        if not written.startswith("-- Running")
        and written not in ("BEGIN", "COMMIT")
        and not _makes(written, version_table)
    ]


def _makes(statement: str, table: str) -> bool:
    """True for the CREATE TABLE of the version table: it is rendered in another place offline."""
    return statement.startswith("CREATE TABLE") and f"{table} (" in statement.partition("\n")[0]


def recording_config(config: Config, reads: Reads) -> Config:
    """Make a configuration record each access by a revision; returns it."""

    class RecordingConfig(Config):
        def __getattribute__(self, name: str) -> Any:
            reads.note_use(sys._getframe(1), "the configuration")  # noqa: SLF001
            return super().__getattribute__(name)

    config.__class__ = RecordingConfig
    return config
