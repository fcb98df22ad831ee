"""Task: all that a worker needs for one run; and Ended, the result of a run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from sqlalchemy import select, type_coerce, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, joinedload, undefer
from sqlalchemy.orm.attributes import set_committed_value

from app.errors import CatalogBusy, ProjectNotReady
from app.extensions import db
from app.fleet import projects
from app.fleet.addresses import arguments, urls
from app.fleet.core.transactions import writing
from app.fleet.counts.positions import joined, split
from app.fleet.isolation.remote import RemoteDatabase, RemoteProject
from app.fleet.projects import revisions
from app.fleet.rollouts import undo
from app.fleet.rollouts.rules.gates import Gate
from app.models import Database, Kind, Project, Rollout, Run, State
from app.models.columns import LongText
from app.models.secrets import vault
from headway.dialects.urls import DatabaseURL
from headway.errors import DatabaseMoved, ErrorKind, TargetInvalid
from headway.types import Holder, Position, Status

TRANSIENT = (ErrorKind.BUSY, ErrorKind.UNREACHABLE)
LOOK_SECONDS = 1.0
SURE_SECONDS = 2.0
LOCK_WAIT = 10.0
"""Seconds that a run waits for the lock of its database; then it is tried again later."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The result of a run, as it is stored."""

    state: State
    before: str | None = None
    after: str | None = None
    applied: tuple[str, ...] = ()
    replayed: bool | None = None
    seconds: float | None = None
    error: str | None = None
    problem: str | None = None
    snapshot: str | None = None
    statements: tuple[str, ...] = ()
    look: Status | None = None
    """The status of the database after the run, if it was read."""
    differences: int | None = None
    """How many differences from its revisions the database has, if it was compared."""
    transient: bool = False
    """True if a later attempt may succeed."""


@dataclass(frozen=True, kw_only=True)
class Undone:
    """What an undo run undoes: a run, with its earlier attempts that migrated the database."""

    kind: Kind
    before: str
    """The revisions before the first attempt."""
    after: str
    """The revisions after the last attempt."""
    snapshot: str | None
    x: dict[str, str] | None
    """The -x arguments that it ran with; None where that is not known."""

    @classmethod
    def read(cls, session: Session, ids: Sequence[int]) -> "dict[int, Undone]":
        """Those that undo runs with these `undoes` undo, by the id of the run that is undone."""
        if not ids:
            return {}
        runs = session.scalars(select(Run).where(Run.id.in_(ids))).all()
        first, after = undo.origins(session, runs), undo.left_at(session, runs)
        return {
            run.id: cls(
                kind=Kind(run.kind),
                before=first[run.id].before or "",
                after=after[run.id],
                snapshot=first[run.id].snapshot,
                x=first[run.id].x,
            )
            for run in runs
        }


class FreshScripts:
    """The scripts of projects as they were a moment ago, for runs that follow each other."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, RemoteProject]] = {}

    def of(self, project: Project) -> RemoteProject:
        """The scripts of a project; their files are looked at once a second."""
        at, scripts = self._known.get(project.id, (0.0, None))
        if scripts is None or time.monotonic() > at + LOOK_SECONDS:
            at, scripts = time.monotonic(), projects.scripts_of(project)
            self._known[project.id] = (at, scripts)
        return scripts


@dataclass(kw_only=True)
class Task:
    """A run that a worker executes."""

    run: Run
    rollout: Rollout
    database: Database
    project: Project
    undone: "Undone | None"
    """What this run undoes."""
    worker: str
    encrypted_url: str | None
    fresh: "FreshScripts"
    kind: Kind = field(init=False)
    """The operation of this run."""
    seen_ours: float = 0.0
    """When the run was last seen to be this worker's, on the monotonic clock."""
    used_x: dict[str, str] | None = None
    """The -x arguments that this attempt gave to env.py; None if it came to none."""
    found: str | None = None
    """The revisions that this attempt found; None if it has not read the status."""
    lines: list[str] = field(default_factory=list)
    has_begun: bool = False
    """True once a revision of this attempt has begun."""

    def __post_init__(self) -> None:
        self.kind = Kind(self.run.kind)

    @classmethod
    def read(
        cls, run_ids: Sequence[int], worker: str | None, state: State = State.RUNNING
    ) -> "list[Task]":
        """Read runs, in this order; those not in this state, or not this worker's, are left out."""
        # The URL is decrypted late, so that an unreadable one fails only its own run.
        encrypted = type_coerce(Database.__table__.c.url, LongText)
        query = (
            select(Run, Rollout, Database, encrypted)
            .join(Rollout, Rollout.id == Run.rollout_id)
            .join(Database, Database.id == Run.database_id)
            .where(Run.id.in_(run_ids), Run.state == state)
            .options(undefer(Run.log), joinedload(Database.project))
        )
        if worker is not None:
            query = query.where(Run.worker == worker)
        fresh = FreshScripts()
        # Its own session, so that no transaction is open while the databases are migrated.
        with Session(db.engine, expire_on_commit=False) as session:
            rows = {row[0].id: row for row in session.execute(query)}
            undone = Undone.read(session, [run.undoes for run, *_ in rows.values() if run.undoes])
            return [
                cls(
                    run=run,
                    rollout=rollout,
                    database=database,
                    project=database.project,
                    undone=undone[run.undoes] if run.undoes else None,
                    worker=worker or "headway",
                    encrypted_url=url,
                    fresh=fresh,
                )
                for run, rollout, database, url in (rows[one] for one in run_ids if one in rows)
            ]

    @property
    def planned_from(self) -> str | None:
        """The revisions of its database when this run was planned.

        None if the database was never probed.
        """
        if self.run.before is not None:
            return self.run.before
        return self.database.current if self.database.seen_at else None

    @property
    def has_moved(self) -> bool:
        """True if an earlier attempt of this run migrated its database."""
        return self.run.before is not None and self.run.after not in (None, self.run.before)

    @property
    def gate(self) -> Gate:
        """The gate of its rollout."""
        return Gate.of(self.rollout.gate)

    def say(self, line: str) -> None:
        """Add a line to the run's log."""
        self.lines.append(f"{datetime.now(UTC):%H:%M:%S.%f}"[:-3] + f" {line}")

    def on_step(self, number: int, total: int, revision: str) -> None:
        """Called before each revision, when the lock of the database is held.

        Again from the first on where the recorded statements were of no use: see `replay`.
        """
        if number == 1 and self.has_begun:
            self.say("the recorded statements do not fit: rolled back, and run by the scripts")
        self.has_begun = True
        self.say(f"{number} of {total}: {revision}")

    def refuse_lost(self) -> None:
        """Raise DatabaseMoved if this run was reported lost and given to another worker.

        To be called under the lock of the database, which may have been waited for: a worker is
        reported lost after it was not heard for much longer than SURE_SECONDS.
        """
        if time.monotonic() < self.seen_ours + SURE_SECONDS:
            return
        mine = select(Run.id).where(
            Run.id == self.run.id, Run.worker == self.worker, Run.state == State.RUNNING
        )
        try:
            with Session(db.engine) as session:
                is_mine = session.scalar(mine) is not None
        except SQLAlchemyError as error:  # else it would count as an error of the database
            raise CatalogBusy(
                "The catalog did not answer before the first step. Nothing was changed; the run is "
                "tried again automatically."
            ) from error
        if not is_mine:
            raise DatabaseMoved(
                f"{self.worker} was reported lost, and another worker may have migrated "
                f"{self.database.name} since. Nothing was changed."
            )

    def waiting(self, holder: Holder | None) -> None:
        """Called while another process has the lock of the database."""
        line = f"waiting for {holder or 'another process'}"
        if not self.lines or not self.lines[-1].endswith(line):
            self.say(line)

    def member(self, scripts: RemoteProject | None = None) -> RemoteDatabase:
        """The database, with the options of this rollout."""
        timeout = self.rollout.timeout_seconds
        return (scripts or self.scripts).at(
            self.url,
            self.x,
            snapshot=self.rollout.snapshot,
            lock_wait=min(LOCK_WAIT, timeout),
            # The server gives up too: a client that is ended does not end its statement.
            statement_timeout=timeout,
            release=f"headway {self.worker}"[:64],
        )

    @cached_property
    def url(self) -> DatabaseURL:
        """The URL of the database. Raises what `urls.url_of` raises."""
        url = None if self.encrypted_url is None else vault().decrypt(self.encrypted_url)
        set_committed_value(self.database, "url", url)
        return urls.url_of(self.database)

    @cached_property
    def x(self) -> dict[str, str]:
        """The -x arguments. Raises ArgumentMissing.

        An undo and a later attempt have those with which the database was migrated: with others
        env.py might look at another schema.
        """
        kept = self.run.x if self.has_moved else None
        if self.undone is not None and self.undone.x is not None:
            kept = self.undone.x
        if kept is None:
            with Session(db.engine) as session:
                kept = arguments.arguments_of(session, self.project, self.database, self.url)
        if kept:
            self.say("with " + " ".join(f"-x {name}={value}" for name, value in kept.items()))
        self.used_x = kept
        return kept

    @cached_property
    def scripts(self) -> RemoteProject:
        """The scripts of the project."""
        return self.fresh.of(self.project)

    def scripts_for(self, seen: Status) -> RemoteProject:
        """The scripts, with revisions of a newer release if the database has some."""
        if seen.position in (Position.AHEAD, Position.DIVERGED):
            return revisions.scripts_with(self.project, seen.newer)
        return self.scripts

    def aim(self, current: tuple[str, ...]) -> str:
        """The target revisions joined by `+`, resolved once so that a retry has the same."""
        if self.found is None:
            self.found = joined(current)
            self._keep_found()
        if self.run.aim is None:
            if self.undone is not None:
                self.run.aim = self.undone.before
            else:
                self.run.aim = self._ends(current)
            # A relative target is resolved once: after one of two steps it would mean others.
            if self.rollout.target[:1] in ("+", "-"):
                self._keep(aim=self.run.aim)
        return self.run.aim

    def _ends(self, current: tuple[str, ...]) -> str:
        kind = Kind(self.rollout.kind)  # of a rehearsal: what is rehearsed
        key = (self.project.id, self.project.digest, current, self.rollout.target, kind)
        if key not in _ends:
            _ends[key] = revisions.ends(self.project.id, current, self.rollout.target, kind)
        return _ends[key]

    def begin_to_create(self, aim: str) -> None:
        """Keep where its database is to end, and that it is about to be made.

        Raises DatabaseMoved if the run is another worker's by now.
        """
        self.refuse_lost()
        self.run.before, self.run.aim = "", aim
        self._keep(before="", aim=aim)

    def _keep_found(self) -> None:
        """Store the revisions found if they differ from the plan, as the limit of an undo."""
        if not self.has_moved and self.found != self.planned_from:
            self.run.before = self.found
            self._keep(before=self.found)

    def _keep(self, **values: str | None) -> None:
        with writing() as session:
            session.execute(update(Run).where(Run.id == self.run.id).values(**values))

    def target(self, scripts: RemoteProject, aim: str) -> str:
        """A joined aim as a target for `upgrade` or `downgrade`. Raises TargetInvalid."""
        wanted = split(aim)
        if not wanted:
            return "base"
        if set(wanted) == set(scripts.heads):
            return "heads"
        if len(wanted) == 1:
            return wanted[0]
        raise TargetInvalid(
            f"A run cannot bring a database to {aim}: these revisions are on several branches and "
            "are not the heads. Roll out to one revision after the other."
        )

    def refuse_unready(self) -> None:
        """Raise ProjectNotReady if the scripts differ from those in the register."""
        if self.project.digest and self.scripts.digest != self.project.digest:
            raise ProjectNotReady(
                f"The scripts of {self.project.name} changed a moment ago and are being read. "
                "This run is tried again automatically."
            )


_ends: dict[tuple[object, ...], str] = {}
