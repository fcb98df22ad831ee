"""Messages between a service process and its child process, which runs projects' code."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from app.fleet.isolation.pool import TimedOut
from headway.errors import HeadwayError
from headway.types import Status


@dataclass(frozen=True)
class ScriptLocation:
    """The location of a project's scripts."""

    folder: str
    ini: str | None = None
    extra_folder: str | None = None
    """A folder of further revisions, written from the register."""


@dataclass(frozen=True)
class Version:
    """A project's scripts at one digest, so that what was planned is what runs."""

    place: ScriptLocation
    digest: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about a project's scripts, as plain values without any of the project's code."""

    digest: str
    """Changes when any revision, env.py or option does."""
    heads: tuple[str, ...]
    parents: Mapping[str, tuple[str, ...]]
    """Revision id -> the ids of its parents and dependencies."""
    folder: Path
    version_folders: tuple[Path, ...]
    options: tuple[Path, ...]
    """The project's files of options: alembic.ini, pyproject.toml."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentUse:
    """How a project's env.py is used for one kind of database, and why."""

    mode: str
    why: str
    options: Mapping[str, str | bool]
    """The options that affect the generated SQL."""
    missing_offline: str | None
    """What a run does and SQL written offline lacks, in a sentence; None if there is nothing."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A database of a project, as a request identifies it."""

    scripts: Version
    url: URL
    x: Mapping[str, str]
    policy: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """The status of one database, and its size in bytes if it is a file."""

    at: datetime
    """When the probe began; the result of a run that ended later is newer."""
    look: Status
    size: int | None = None


ProbeTarget = tuple[int, str | None, URL, Mapping[str, str]]
"""A database to be probed: its key, its server, its URL and its -x arguments."""
Answer = ProbeResult | TimedOut | HeadwayError
