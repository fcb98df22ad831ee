"""What travels between a process of the catalog and its child, which runs projects' code."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from app.fleet.isolation.pool import TimedOut
from headway.errors import HeadwayError
from headway.types import Look


@dataclass(frozen=True)
class ScriptLocation:
    """Where a project's scripts are."""

    folder: str
    ini: str | None = None
    extra_folder: str | None = None
    """A folder with more revisions, from the register."""


@dataclass(frozen=True)
class Version:
    """A project's scripts as they were when they were described."""

    place: ScriptLocation
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
class EnvironmentUse:
    """How a project's env.py is used for one kind of database."""

    mode: str
    why: str
    options: Mapping[str, str | bool]
    """Those that change what SQL is made."""
    missing_offline: str | None
    """What a run has, and SQL that is only written has not."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A database of a project, as one request names it."""

    scripts: Version
    url: URL
    x: Mapping[str, str]
    policy: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What one look found."""

    at: datetime
    """When it began: what a run did since then is newer."""
    look: Look
    size: int | None = None


Answer = ProbeResult | TimedOut | HeadwayError
