"""Templates: databases that new ones are copied from, found, kept and dropped.

On SQLite they are files in a folder of this process, elsewhere databases on the server. The name of
a template is a digest of all that it depends on.
"""

import atexit
import contextlib
import os
import platform
import shutil
import tempfile
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path

import alembic
import sqlalchemy
from sqlalchemy import URL

from headway.errors import DatabaseExists
from headway.execution.migration import Move
from headway.isolation.files import Files
from headway.proof.contents import Contents, surroundings
from headway.proof.momentary import Trace
from headway.proof.reads import Reads
from headway.scripts.environment import Environment
from headway.scripts.project import ScriptProject

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


PREFIX = "headway_template_"
MOST_FILES = 32
"""How many templates of SQLite a process keeps: there is one for each set of -x arguments."""

FORMAT = 2  # of what is proven: an older release's template is none


@dataclass(frozen=True, kw_only=True)
class Template:
    """A database to copy, and the files it was made from beside the scripts."""

    url: URL
    files: Files = field(default_factory=Files)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A database that may become a template."""

    url: URL
    trace: Trace
    reads: Reads
    contents: Contents


def is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def keep(move: Move, draft: Draft, name: str) -> Template:
    """Rename a draft to its final name, and drop templates of older scripts."""
    if move.address.dialect.name == "sqlite":
        path = _folder(os.getpid()) / f"{name}.sqlite"
        Path(str(draft.url.database)).replace(path)
        with contextlib.suppress(FileNotFoundError):  # another thread does the same
            files = sorted(path.parent.glob("*.sqlite"), key=lambda one: one.stat().st_mtime)
            for file in files[:-MOST_FILES]:
                file.unlink()
        return Template(url=draft.url.set(database=str(path)), files=draft.reads.files)
    dialect, url = move.address.dialect, draft.url.set(database=name)
    with contextlib.suppress(DatabaseExists):  # another process was as quick
        dialect.rename(draft.url, name)
    for old in dialect.named(url, name.rpartition("_")[0] + "_"):
        if old != name:
            dialect.discard(url.set(database=old))
    return Template(url=url)


def find_template(move: Move, name: str) -> Template | str | None:
    """The template; a text with the reason if there is none; None if it was not tried yet."""
    memory, dialect = move.project.memory, move.address.dialect
    found: Template | str | None = memory.get(("template", name))
    if found is None and dialect.templates:
        url = move.address.url.set(database=name)
        if dialect.exists(url):
            found = memory["template", name] = Template(url=url)
    if isinstance(found, Template) and not found.files.hold():
        return None
    return found


def template_name(move: Move) -> str:
    """The template's name: a digest of everything that its content depends on."""
    project, url = move.project, move.address.url
    query = repr(sorted(url.query.items()))
    key = ("place", url.drivername, url.username, url.host, url.port, query)
    if key not in project.memory:
        project.memory[key] = f"{key} {surroundings(url)}"
    environment = project.environment_for(url, move.x)
    parts = [FORMAT, alembic.__version__, sqlalchemy.__version__, platform.python_version()]
    parts += [project.digest, move.target, sorted(move.x.items()), _options(environment)]
    place = project.memory[key]
    digest = sha256(f"{place} {parts}".encode()).hexdigest()[:20]
    where = sha256(place.encode()).hexdigest()[:8]
    return f"{PREFIX}{_project_digest(project)}{where}_{digest}"


def _options(environment: Environment) -> list[str]:
    given = {**environment.options, **environment.run_arguments}
    return [f"{name}={given[name]}" for name in sorted(given) if is_plain(given[name])]


def draft_url(move: Move, name: str) -> URL:
    if move.address.dialect.name == "sqlite":
        path = _folder(os.getpid()) / f"{name}.partial"
        return URL.create("sqlite", database=str(path))
    return move.address.url.set(database=f"{PREFIX}{os.getpid()}_{name.rpartition('_')[2]}")


@cache
def _folder(_process: int) -> Path:
    """A temporary folder of this process, removed at its end. A forked child makes its own.

    If the process was killed, the next process of the same user removes the folder: it is locked
    while its owner lives. It gets its final name only when it is locked.
    """
    _sweep(Path(tempfile.gettempdir()))
    made = Path(tempfile.mkdtemp(prefix="headway-new-"))
    folder = made.with_name(made.name.replace("-new-", "-templates-", 1))
    if _locked(made) is None:
        folder = made  # where that cannot be told, nobody else removes it
    else:
        made.rename(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _sweep(place: Path) -> None:
    """Remove the folders of this user's processes that are gone."""
    for folder in place.glob("headway-templates-*"):
        if (handle := _locked(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


def _locked(folder: Path) -> int | None:
    """A handle that locks a folder of this user until it is closed; None if it cannot be locked."""
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(handle).st_uid == os.getuid():
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
    except OSError:
        pass  # its owner lives
    os.close(handle)
    return None


def _project_digest(project: ScriptProject) -> str:
    """A digest of the project's first revisions: equal for all of its releases."""
    if "bases" not in project.memory:
        scripts = project.scripts.by_id.values()
        bases = sorted(f"{one.id} {one.checksum}" for one in scripts if not one.parents)
        project.memory["bases"] = sha256(" ".join(bases).encode()).hexdigest()[:8]
    return str(project.memory["bases"])
