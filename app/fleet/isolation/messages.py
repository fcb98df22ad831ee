"""What travels between a process of the catalog and its child, which runs projects' code."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from app.fleet.isolation.pool import Silence
from headway.errors import HeadwayError
from headway.types import Status


@dataclass(frozen=True)
class Place:
    """Where a project's scripts are."""

    folder: str
    ini: str | None = None
    beside: str | None = None
    """A folder with more revisions, from the register."""


@dataclass(frozen=True)
class Version:
    """A project's scripts as they were when they were described."""

    place: Place
    digest: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the fleet has to know of a project's scripts. None of the project's code comes along."""

    digest: str
    """Changes when any revision, env.py or option does."""
    heads: tuple[str, ...]
    parents: Mapping[str, tuple[str, ...]]
    """Each revision -> those it stands on."""
    folder: Path
    version_folders: tuple[Path, ...]
    options: tuple[Path, ...]
    """Its files of options."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """How a project's env.py is used for one kind of database."""

    mode: str
    why: str
    options: Mapping[str, str | bool]
    """Those that change what SQL is made."""
    unwritten: str | None
    """What a run has, and SQL that is only written has not."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A database of a project, as one request names it."""

    scripts: Version
    url: URL
    x: Mapping[str, str]
    policy: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one look found."""

    at: datetime
    """When it began: what a run did since then is newer."""
    look: Status
    size: int | None = None


Answer = Seen | Silence | HeadwayError
