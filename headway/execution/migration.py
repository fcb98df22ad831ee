"""One upgrade, downgrade or stamp: locked, checked against the plan, replayed or run."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

from headway import history
from headway import status as verdict
from headway.connections import places
from headway.connections.address import Address
from headway.connections.session import Policy, Waiting, held
from headway.dialects.driver import Raw
from headway.dialects.types import VersionTable
from headway.errors import DatabaseExists, DatabaseMoved, DatabaseReadOnly, HeadwayError
from headway.execution import python
from headway.execution.python import Watch
from headway.execution.replay import Recorder, replay
from headway.execution.run import OnStep
from headway.execution.statements import SentStatements, attach_sent, readable
from headway.isolation.running import from_outside
from headway.plan import plans
from headway.plan.plans import Direction, Plan
from headway.proof.answers import OtherAnswer
from headway.proof.recording import Recording
from headway.scripts.environment import Environment, Mode
from headway.scripts.project import ScriptProject
from headway.types import Bounded, Outcome, Position, Status

OnFound = Callable[[Status], str | None]

MOST_RECORDINGS = 256
"""How many recorded migrations a process keeps of a project: there is one for each set of -x."""
MOST_ANSWERS = 4
"""How many recordings it keeps of one migration that asks the database, with different answers."""


@dataclass(frozen=True, kw_only=True)
class Move:
    """One upgrade, downgrade or stamp of a database."""

    project: ScriptProject
    address: Address
    x: Mapping[str, str]
    policy: Policy
    direction: Direction
    target: str | tuple[str, ...]
    """Several only to stamp them."""
    expected: Plan | None = None
    on_found: OnFound | None = None
    """Given the status that is read under the lock, tells the target; None: to do nothing.

    It may refuse by raising.
    """
    on_step: OnStep | None = None
    waiting: Waiting | None = None
    listener: Watch | None = None
    """Called with the migration context before it runs; then nothing is replayed."""
    is_rehearsal: bool = False
    """What it is done to is a copy, or a transaction that is rolled back afterwards."""
    adopts: bool = False
    """To stamp what was found by comparing schemas."""
    prepare: Callable[[list[Any]], list[Any]] | None = None
    """Replaces the steps before they run, to watch them."""
    purges: bool = False
    """For a stamp: to empty the version table first, as `alembic stamp --purge` does."""
    is_new: bool = False
    """The schema was made for this a moment ago, and is empty."""

    def make(self) -> Outcome:
        """Run it.

        Raises a HeadwayError with the reason; then the database is unchanged if it can be.
        """
        path, lent = self.path, self.address.is_lent  # then it has the file open
        is_new = path is not None and not path.exists() and not lent
        try:
            with held(self.address, self.policy, self.waiting) as raw:
                return self.make_on(raw)
        except BaseException:
            if path and is_new and path.exists() and not path.stat().st_size:
                path.unlink()  # connecting made it, and nothing came into it
            raise

    @cached_property
    def path(self) -> Path | None:
        """The file of a SQLite database."""
        return self.address.path

    @cached_property
    def environment(self) -> Environment:
        """How env.py is used here. First asked under the lock, which may have been waited for."""
        return self.project.environment_of(self.address, self.x)

    def make_on(self, raw: Raw) -> Outcome:
        """Do it on a connection that holds the lock."""
        began = time.monotonic()
        table = verdict.version_table_of(self.environment, self.address, self.policy.words)
        status = self._status(raw, table)
        current = status.current
        if self.is_new and current:
            raise DatabaseExists(
                f"{self.address} is new, and {table.quoted('')} says that it is at "
                f"{', '.join(current)}: that version belongs to another database, or to an earlier "
                "one of this name. Nothing was run. Remove that version first."
            )
        if self.purges and not status.torn and current:
            self._purge(raw, table)
            return replace(replace(self, purges=False).make_on(raw), before=current)
        if self.on_found is None:
            return self.make_from(raw, table, status, began)
        if (target := self.on_found(status)) is None:
            return Outcome(before=current, after=current, status=status)
        return replace(self, on_found=None, target=target).make_from(raw, table, status, began)

    def make_from(self, raw: Raw, table: VersionTable, status: Status, began: float) -> Outcome:
        """Do it from where the database was found, under the lock that was held since."""
        current = status.current
        if self.expected and self.expected.current != current:
            raise DatabaseMoved(
                f"{self.address} was at {', '.join(self.expected.current) or 'base'} when this was "
                f"planned, and is at {', '.join(current) or 'base'} now. Plan again."
            )
        if why_not := self._refusal(status):
            if status.position is Position.AHEAD and self.policy.ahead == "ignore":
                return Outcome(before=current, after=current, status=status)
            raise why_not
        steps = plans.alembic_steps(self.project, self.direction, self.target, current)
        if not steps:
            return Outcome(before=current, after=current, status=status)
        if self.prepare:
            steps = self.prepare(steps)
        self._refuse_read_only()
        snapshot = self._snapshot(raw, current)
        try:
            replayed, statements = self._run(raw, current, steps)
        except BaseException:
            if snapshot:
                snapshot.unlink(missing_ok=True)  # of what is still there
            raise
        now = self._status(raw, table)
        return Outcome(
            before=current,
            after=now.current,
            status=now,
            applied=plans.step_names(steps, self.direction),
            replayed=replayed,
            seconds=time.monotonic() - began,
            snapshot=str(snapshot) if snapshot else None,
            statements=statements,
        )

    def _purge(self, raw: Raw, table: VersionTable) -> None:
        """Empty the version table; a target that cannot be stamped is refused before."""
        plans.alembic_steps(self.project, self.direction, self.target, ())
        self._refuse_read_only()
        with self.address.connected(raw) as connection:
            versions = _alembic(connection, table)._version  # noqa: SLF001  # FRAGILE
            writing = connection.execution_options(write=True)
            writing.execute(versions.delete())
            if not self.address.is_shared:
                writing.commit()

    def _refuse_read_only(self) -> None:
        """Raise DatabaseReadOnly before the first statement would fail."""
        if self.path and not os.access(self.path, os.W_OK) and self.path.exists():
            raise DatabaseReadOnly(f"{self.path} cannot be written. Nothing was changed.")

    def _refusal(self, status: Status) -> HeadwayError | None:
        """Why the database must not be migrated; None if it may.

        A stamp may be set on an unstamped one.
        """
        stamping = self.direction is Direction.STAMP and status.position is Position.UNSTAMPED
        return None if stamping else verdict.refusal(self.address, status, self.policy.words)

    def _status(self, raw: Raw, table: VersionTable) -> Status:
        if self.policy.explicit_schema:
            places.refuse_implicit_schema(self.address, raw)
        seen = verdict.read(self.project, self.address, table, raw)
        status = verdict.judged(self.project, table, seen, self.policy)
        keeps = self.policy.history or self.address.is_shared
        if seen.history is not None and not (status.torn or keeps):
            self._sweep(raw)
        return status

    def _sweep(self, raw: Raw) -> None:
        """Remove the history of a run that was killed after its last step."""
        with self.address.connected(raw) as connection:
            writing = connection.execution_options(write=True)
            if history.is_passing(writing):
                history.remove(writing)
            writing.commit()

    def _snapshot(self, raw: Raw, current: tuple[str, ...]) -> Path | None:
        if not self.policy.snapshot or self.address.is_shared or self.adopts:
            return None
        label = "+".join(current) or "base"
        return self.address.dialect.snapshot(raw, self.address.url, label)

    def _run(
        self, raw: Raw, current: tuple[str, ...], steps: list[Any]
    ) -> tuple[bool, tuple[str, ...]]:
        """Whether the steps were replayed, and the statements that were sent."""
        why_not, key = self._cannot_replay(current, steps), self._key(current)
        known = () if why_not else self._cached_recordings(key)
        for recording in known:
            if recording.why_not is None and self._replays(recording, raw, current):
                return True, readable(recording.changes)
        job = self._job(steps)
        if why_not or len(known) >= MOST_ANSWERS or any(one.why_not for one in known):
            sent = SentStatements()
            with attach_sent(lambda: tuple(sent.statements)):
                python.run(replace(job, watch=_both(sent.watch, job.watch)), raw)
            return False, tuple(sent.statements)
        recorder = Recorder(job)
        with attach_sent(lambda: recorder.readable):
            guard_options = replace(job.guard_options, on_ended=recorder.on_ended)
            recorded = replace(
                job, watch=recorder.watch, on_step=recorder.on_step, guard_options=guard_options
            )
            python.run(recorded, raw)
        judged = recorder.judge(current)
        self._recordings[key] = (*known, judged)
        return False, readable(judged.changes) or recorder.readable

    def _replays(self, recording: Recording, raw: Raw, current: tuple[str, ...]) -> bool:
        """Replay a recording. False if the database answers otherwise: then nothing was done."""
        if not current:
            self._make_version_table(raw)
        try:
            replay(recording, raw, self.address.dialect, self.on_step)
        except OtherAnswer:
            return False
        return True

    def _make_version_table(self, raw: Raw) -> None:
        """As Alembic does before the first revision."""
        options = self.environment.options_without_callbacks
        with self.address.connected(raw) as connection:
            writing = connection.execution_options(write=True)
            MigrationContext.configure(writing, opts=options)._ensure_version_table()  # noqa: SLF001
            writing.commit()

    def recording(self, current: tuple[str, ...], steps: list[Any]) -> Recording | None:
        """The recording for these steps; None if only the next run can tell."""
        why_not = self._cannot_replay(current, steps)
        if why_not:
            return Recording(why_not=why_not)
        return next(iter(self._cached_recordings(self._key(current))), None)

    def _cached_recordings(self, key: tuple[object, ...]) -> tuple[Recording, ...]:
        """What was recorded of databases that were asked and gave different answers."""
        found: tuple[Recording, ...] = self._recordings.get(key, ())
        return tuple(one for one in found if one.files.hold())

    @property
    def _recordings(self) -> Bounded:
        return self.project.memory.setdefault("recordings", Bounded(MOST_RECORDINGS))  # type: ignore[no-any-return]

    def _cannot_replay(self, current: tuple[str, ...], steps: list[Any]) -> str | None:
        environment = self.environment
        reasons = {
            "replaying is switched off": not self.policy.replay or self.listener is not None,
            "a stamp runs nothing": self.direction is Direction.STAMP,
            "it has no version yet": not (current or self.is_new),
            "this database commits each statement, so each revision is announced first": (
                not self.address.dialect.transactional_ddl
            ),
            "env.py is executed for each database": environment.mode is Mode.EXECUTED,
            "env.py has a callback for each revision (on_version_apply)": "on_version_apply"
            in environment.options,
            "each revision has a transaction of its own": self._per_migration(steps)
            or bool(environment.options.get("transaction_per_migration")),
            "a history is kept in it": self.policy.history,
            "it is part of your transaction": self.address.is_shared,
        }
        return next((why for why, holds in reasons.items() if holds), None)

    def _per_migration(self, steps: list[Any]) -> bool:
        names = plans.step_names(steps, self.direction)
        return any(self.project.scripts.by_id[name].autocommits for name in names)

    def _key(self, current: tuple[str, ...]) -> tuple[object, ...]:
        x, environment = tuple(sorted(self.x.items())), self.environment
        # What env.py configures may follow from these.
        surroundings = (environment.generation, *sorted(environment.variables.items()))
        return (
            *(self.address.url.drivername, x, surroundings),
            *(self.direction, self.target, current),
        )

    def _job(self, steps: list[Any]) -> python.Job:
        return python.Job(
            project=self.project,
            address=self.address,
            x=self.x,
            direction=self.direction,
            target=self.target,
            steps=steps,
            me=self.policy.me,
            guard_options=python.guard_options_for(self.policy, adopts=self.adopts),
            on_step=from_outside(self.on_step) if self.on_step else None,
            watch=self.listener,
            is_rehearsal=self.is_rehearsal,
            per_migration=self.direction is not Direction.STAMP and self._per_migration(steps),
        )


def ensure_version_table(
    project: ScriptProject,
    address: Address,
    x: Mapping[str, str],
    policy: Policy,
) -> None:
    """Create Alembic's version table if it is not there, under the lock."""
    table = verdict.version_table(project, address, x)
    with held(address, policy) as raw, address.connected(raw) as connection:
        writing = connection.execution_options(write=True)
        _alembic(writing, table)._ensure_version_table()  # noqa: SLF001  # as Alembic's command does
        if not address.is_shared:
            writing.commit()


def _alembic(connection: Connection, table: VersionTable) -> MigrationContext:
    options = {"version_table": table.name, "version_table_schema": table.schema}
    return MigrationContext.configure(connection, opts=options)


def _both(first: Watch, second: Watch | None) -> Watch:
    def watch(migration: MigrationContext) -> None:
        first(migration)
        if second:
            second(migration)

    return watch
