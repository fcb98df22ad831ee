"""Prove that revisions give the same SQL whatever the database, the moment and the surroundings.

They are imported anew, so that nothing is left in their variables of an earlier run, and run
without a database in two other places, while what they read is watched.
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
from alembic.util.pyfiles import load_python_file
from sqlalchemy import URL
from sqlalchemy.engine.interfaces import Dialect

from headway.plan.sql import Span, Statements, write
from headway.proof.names import variables
from headway.proof.reads import Reads

Rendering = list[str]


class Unproven(Exception):
    """A build that was only to prove something has nothing more to prove."""


def reads_of(steps: Iterable[Any], *, connected: bool = False) -> Reads:
    """What will watch these steps of Alembic's."""
    paths = [str(step.revision.path) for step in steps]
    own = frozenset(paths) | frozenset(map(os.path.abspath, paths))
    return Reads(own, connected=connected)


def imported_anew(steps: Sequence[Any], reads: Reads) -> list[Any]:
    """The same steps from modules of their own, watched as they are imported and as they run."""
    return [_anew(step, reads) for step in steps]


def _anew(step: Any, reads: Reads) -> Any:
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
    """What these steps write in two other places. The caller has called `isolated`."""
    again = imported_anew(steps, reads)
    found = []
    for place in _elsewhere(span.address.url):
        buffer = Statements()
        config = recording_config(span.project.config_for(place, span.x), reads)
        migration = write(span, dialect, buffer, config=config, steps=again)
        end = migration.impl.command_terminator
        found.append([text.removesuffix(end).strip() for text in buffer.found])
    return found


def _elsewhere(url: URL) -> list[URL]:
    if url.get_backend_name() == "sqlite":
        return [url.set(database=f"/elsewhere/{name}.db") for name in ("one", "other")]
    return [
        url.set(username=name, password=name, host=f"{name}.invalid", port=port, database=name)
        for name, port in (("one", 1), ("other", 2))
    ]


def recording_config(config: Config, reads: Reads) -> Config:
    """The same configuration, which notes that a revision asks it."""

    class RecordingConfig(Config):
        def __getattribute__(self, name: str) -> Any:
            reads.note_use(sys._getframe(1), "the configuration")  # noqa: SLF001
            return super().__getattribute__(name)

    config.__class__ = RecordingConfig
    return config
