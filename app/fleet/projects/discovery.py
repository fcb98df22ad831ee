"""Find script directories that could be projects, as suggestions for a new one."""

import os
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select

from app.extensions import db
from app.fleet.addresses.paths import settings
from app.fleet.core.permissions import Actor
from app.models import Project
from app.settings import MIGRATIONS

MOST_FOLDERS = 500
"""How many folders are searched, those nearest to the roots first. A page waits for this."""
OPTIONS = ("alembic.ini", "pyproject.toml")
"""Files that may name the script directory of their folder."""
PASSED_OVER = {"node_modules", "site-packages", "__pycache__", "venv"}


def found_folders(actor: Actor, *, limit: int) -> list[str]:
    """Script directories in the project roots without a project, those nearest to a root first.

    Imports nothing, follows no links, and stops after MOST_FOLDERS folders.
    """
    actor.require("projects.create")
    known = {os.path.realpath(one) for one in db.session.scalars(select(Project.location))}
    known.add(os.path.realpath(MIGRATIONS))  # the catalog's own scripts are not a project
    found = []
    for folder in _folders(settings().project_roots):
        if _is_script_directory(folder) and str(folder) not in known:
            found.append(str(folder))
            if len(found) == limit:
                break
    return found


def found_below(folder: Path) -> Path | None:
    """The nearest script directory below a folder that is not one itself; else None."""
    is_one = (folder / "env.py").exists() or (folder / "versions").is_dir()
    names_one = any((folder / name).is_file() for name in OPTIONS)
    if is_one or names_one:
        return None
    return next(filter(_is_script_directory, _folders((folder,))), None)


def _folders(roots: tuple[Path, ...]) -> Iterator[Path]:
    todo, seen = deque(Path(os.path.realpath(root)) for root in roots), 0
    while todo and seen < MOST_FOLDERS:
        folder = todo.popleft()
        seen += 1
        yield folder
        if not _is_script_directory(folder):
            todo.extend(_below(folder))


def _below(folder: Path) -> list[Path]:
    below = []
    with suppress(OSError), os.scandir(folder) as entries:  # one that we may not read
        for entry in entries:
            hidden = entry.name.startswith(".") or entry.name in PASSED_OVER
            if not hidden and entry.is_dir(follow_symlinks=False):
                below.append(Path(entry.path))
    return sorted(below)


def _is_script_directory(folder: Path) -> bool:
    return (folder / "env.py").is_file() and (folder / "versions").is_dir()
