"""What a child process is asked to do with a project's scripts and the databases of it.

Runs in the child alone, which knows no catalog: see `child`.
"""

import logging
import threading
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL

from app.errors import CheckFailed, ProjectNotReady
from app.fleet.isolation.messages import Answer, Facts, Heard, Place, Seen, Target, Version
from app.fleet.isolation.pool import Question, Round, Silence
from headway.connections.session import held
from headway.connections.sizes import size_of
from headway.database import Database
from headway.errors import HeadwayError
from headway.execution.failures import reason
from headway.plan import register
from headway.plan.graph import SQL_OPTIONS
from headway.project import Extended, Project
from headway.scripts.environment import Environment
from headway.types import Look, Position

log = logging.getLogger(__name__)

METHODS = ("status", "stamp", "check", "snapshot", "restore")


class Asking(Protocol):
    """The way back to whoever made a request."""

    def send(self, kind: str, value: object) -> None:
        """A part of the answer."""

    def ask(self, name: str, *arguments: object) -> None:
        """A question in the middle of it. Raises what the other side raises."""


class Work:
    """What the parent may ask for; each method is one request."""

    def __init__(self, channel: Asking) -> None:
        self.channel = channel

    def describe(self, place: Place, known: str | None) -> Facts | None:
        """The facts of a project's scripts; None if they are those that are known."""
        project = _projects.newest(place)
        if project.digest == known:
            return None
        scripts, config = project.scripts, project.config
        options = filter(None, (config.config_file_name, config.toml_file_name))
        return Facts(
            digest=project.digest,
            heads=project.heads,
            parents={one.id: one.parents + one.depends_on for one in scripts.by_id.values()},
            folder=project.folder,
            version_folders=project.version_folders,
            options=tuple(map(Path, options)),
        )

    def move(self, target: Target, way: str, to: str) -> Any:
        """Upgrade or downgrade; the parent is asked before the first step, and told of each."""
        member = _member(target)
        go = member.downgrade if way == "downgrade" else member.upgrade
        on_step, waiting = partial(self.channel.ask, "step"), partial(self.channel.ask, "waiting")
        return go(to, on_step=on_step, waiting=waiting)

    def do(self, target: Target, what: str, *arguments: Any) -> Any:
        """`status`, `stamp`, `check`, `snapshot` or `restore`."""
        if what not in METHODS:
            raise ValueError(what)
        return getattr(_member(target), what)(*arguments)

    def rehearse(self, target: Target, to: str, direction: str) -> Any:
        """The revisions that a move would run, and how it went on a copy."""
        member = _member(target)
        plan = member.plan(to, direction)
        return tuple(step.revision for step in plan.steps), member.rehearse(plan)

    def create(self, target: Target, to: str) -> Look:
        """Make the database at a revision; where it stands then."""
        member = _member(target)
        member.create(to, on_step=partial(self.channel.ask, "step"))
        return member.status()

    def wait_for_lock(self, target: Target, seconds: float) -> None:
        """Come back once nobody migrates it. Raises DatabaseLocked after so long."""
        member = _member(target)
        path = member.address.path
        if path is None or path.exists():
            with held(member.address, replace(member.policy, lock_wait=seconds)):
                pass

    def query(self, target: Target, query: str) -> Any:
        """The first row of a query that only reads; None if there is none."""
        address = _member(target).address
        with address.open() as raw:
            address.dialect.only_read(raw)
            with address.connected(raw) as connection:
                try:
                    row = connection.exec_driver_sql(query).first()
                except Exception as error:
                    raise CheckFailed(f"The query of the check failed: {reason(error)}.") from error
                finally:
                    connection.rollback()
        return None if row is None else (bool(row[0]), repr(row[0]))

    def look(
        self,
        scripts: Version,
        x: Mapping[str, str],
        asked: Sequence[tuple[int, str | None, URL]],
        silent: dict[str, int],
        seconds: float,
    ) -> dict[str, int]:
        """Look at many at once; what is found is sent as it comes. The servers that are silent."""
        project = _projects.get(scripts)
        ask = partial(look_at, project, x=dict(x))
        rounds = Round[Seen](seconds=seconds)
        rounds.silent = silent
        questions = [
            Question(key=key, server=server, ask=partial(ask, url)) for key, server, url in asked
        ]
        for key, answer in rounds.ask(questions):
            self.channel.send("one", (key, _portable_answer(key, answer)))
        return rounds.silent

    def hear(
        self, scripts: Version, dialects: Collection[str], x: Mapping[str, str]
    ) -> list[Heard]:
        """How env.py is used for each kind of database. Runs it where that is not known yet."""
        project = _projects.get(scripts)
        heard = [project.environment_for(register.address_of(name), x) for name in dialects]
        return [
            Heard(
                mode=one.mode.value,
                why=one.why,
                options=_sql_options(one),
                unwritten=one.unwritten,
            )
            for one in heard
        ]

    def records(self, scripts: Version) -> tuple[register.Record, ...]:
        """Every revision, oldest first."""
        return tuple(register.records(_projects.get(scripts)))

    def sql(
        self, scripts: Version, names: Sequence[str], x: Mapping[str, str]
    ) -> dict[str, register.Sql]:
        """What each of these revisions sends to each kind of database."""
        return register.sql_of(_projects.get(scripts), names, x)


def _sql_options(environment: Environment) -> dict[str, str | bool]:
    """What the SQL around the revisions depends on, with the schema that a run would use."""
    name = "version_table_schema"
    schema = environment.untold.get(name)
    options = environment.untold | {name: environment.schemas.get(schema, schema)}
    return {
        name: options[name] for name in SQL_OPTIONS if isinstance(options.get(name), str | bool)
    }


def look_at(project: Project, url: URL, x: dict[str, str]) -> Seen:
    """Where one database stands. A file that is not there is no empty database: it is missing."""
    began = datetime.now(UTC)
    database = project.at(url, x)
    path = database.address.path
    if path is not None and not path.exists():
        why = f"There is no file {path}."
        return Seen(at=began, look=Look(position=Position.UNREACHABLE, reason=why))
    return Seen(at=began, look=database.status(), size=size_of(url) if path else None)


def _portable_answer(key: int, answer: Seen | Silence | Exception) -> Answer:
    if isinstance(answer, Seen | Silence | HeadwayError):
        return answer
    log.error("database %s cannot be looked at", key, exc_info=answer)
    why = f"It cannot be looked at: {type(answer).__name__}."
    return Seen(at=datetime.now(UTC), look=Look(position=Position.UNREACHABLE, reason=why))


class _Projects:
    """The projects that were asked for, as they were read: what was planned is what runs."""

    def __init__(self) -> None:
        self.known: dict[Place, dict[str, Project]] = {}
        self.reading = threading.Lock()

    def newest(self, place: Place) -> Project:
        """As its files are now."""
        beside = place.beside  # a folder of our own, which nobody changes
        project = self._extended(place) if beside else Project.shared(place.folder, place.ini)
        digest = project.digest
        with self.reading:
            others = self.known.get(place, {})
            if others.get(digest) is not project:
                newest = list(others.items())[-1:]
                self.known[place] = {k: v for k, v in newest if k != digest} | {digest: project}
        return project

    def get(self, scripts: Version) -> Project:
        """As it was described. Raises ProjectNotReady where its files are others by now."""
        known = self.known.get(scripts.place, {}).get(scripts.digest)
        known = known or self.newest(scripts.place)
        if known.digest != scripts.digest:
            raise ProjectNotReady(
                f"The scripts in {scripts.place.folder} changed a moment ago. Nothing was done; it "
                "is tried again by itself."
            )
        return known

    def _extended(self, place: Place) -> Project:
        for project in self.known.get(place, {}).values():
            return project
        project = Extended(place.folder, place.ini, str(place.beside))
        project.scripts  # noqa: B018  # read now, so that a hole is found now
        return project


_projects = _Projects()


def _member(target: Target) -> Database:
    project = _projects.get(target.scripts)
    return project.at(target.url, target.x, **target.policy)
