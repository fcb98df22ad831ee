"""Move one database: under the lock, from where it really stands, all of it or nothing."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext

from headway import history
from headway import status as verdict
from headway.connections.address import Address
from headway.connections.session import Policy, Waiting, held
from headway.dialects.driver import Raw
from headway.dialects.types import VersionTable
from headway.errors import DatabaseMoved, DatabaseReadOnly, HeadwayError
from headway.execution import python
from headway.execution.python import Watch
from headway.execution.replay import Recorder, Recording, replay
from headway.execution.run import OnStep
from headway.execution.statements import Sent, noting
from headway.isolation.running import from_outside
from headway.plan import plans
from headway.plan.plans import Direction, Plan
from headway.scripts.environment import Mode
from headway.scripts.project import ScriptProject
from headway.types import Outcome, Position, Status


@dataclass(frozen=True, kw_only=True)
class Move:
    """A database on its way to a target."""

    project: ScriptProject
    address: Address
    x: Mapping[str, str]
    policy: Policy
    direction: Direction
    target: str | tuple[str, ...]
    """Several only to stamp them."""
    expected: Plan | None = None
    on_step: OnStep | None = None
    waiting: Waiting | None = None
    listener: Watch | None = None
    """Told the migration context before it runs; nothing is replayed then."""
    adopts: bool = False
    """To stamp what was found by comparing schemas."""
    prepare: Callable[[list[Any]], list[Any]] | None = None
    """Gives the steps to run in place of Alembic's: the same ones, watched."""

    def make(self) -> Outcome:
        """Do it. Raises the HeadwayError that says why not; the database is then as it was."""
        path = self.address.path
        lent = self.address.engine or self.address.connection  # it has the file open
        is_new = path is not None and not path.exists() and lent is None
        try:
            with held(self.address, self.policy, self.waiting) as raw:
                return self.make_on(raw)
        except BaseException:
            if path and is_new and path.exists() and not path.stat().st_size:
                path.unlink()  # connecting made it, and nothing came into it
            raise

    def make_on(self, raw: Raw) -> Outcome:
        """Do it on a connection that holds the lock."""
        began = time.monotonic()
        table = verdict.version_table(self.project, self.address, self.x)
        seen = self._look(raw, table)
        current = seen.current
        if self.expected and self.expected.current != current:
            raise DatabaseMoved(
                f"{self.address} was at {', '.join(self.expected.current) or 'base'} when this was "
                f"planned, and is at {', '.join(current) or 'base'} now. Plan again."
            )
        if why_not := self._refusal(seen):
            if seen.position is Position.AHEAD and self.policy.ahead == "ignore":
                return Outcome(before=current, after=current)
            raise why_not
        steps = plans.alembic_steps(self.project, self.direction, self.target, current)
        if not steps:
            return Outcome(before=current, after=current)
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
        return Outcome(
            before=current,
            after=self._look(raw, table).current,
            applied=plans.step_names(steps, self.direction),
            replayed=replayed,
            seconds=time.monotonic() - began,
            snapshot=str(snapshot) if snapshot else None,
            statements=statements,
        )

    def _refuse_read_only(self) -> None:
        """SQLite would say so at the first statement, and then it looks like that one's fault."""
        path = self.address.path
        if path and path.exists() and not os.access(path, os.W_OK):
            raise DatabaseReadOnly(f"{path} cannot be written. Nothing was changed.")

    def _refusal(self, seen: Status) -> HeadwayError | None:
        """Why not. A person who stamps a database says what it is."""
        stamping = self.direction is Direction.STAMP and seen.position is Position.UNSTAMPED
        words = self.policy.words
        return None if stamping else verdict.refusal(words.name(self.address), seen, words)

    def _look(self, raw: Raw, table: VersionTable) -> Status:
        seen = verdict.read(self.project, self.address, table, raw)
        status = verdict.judged(self.project, table, seen, self.policy)
        keeps = self.policy.history or self.address.is_shared
        if seen.history is not None and not (status.torn or keeps):
            self._sweep(raw)
        return status

    def _sweep(self, raw: Raw) -> None:
        """Drop the notes of a run that was killed when all was done."""
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
        """True if it was replayed, and what was sent."""
        known = self.recording(current, steps)
        if known and known.why_not is None:
            replay(known, raw, self.address.dialect, self.on_step)
            return True, known.readable
        job = self._job(steps)
        if known:
            sent = Sent()
            with noting(lambda: tuple(sent.statements)):
                python.run(replace(job, watch=_both(sent.watch, job.watch)), raw)
            return False, tuple(sent.statements)
        recorder = Recorder(job)
        with noting(lambda: recorder.readable):
            care = replace(job.care, on_ended=recorder.on_ended)
            recorded = replace(job, watch=recorder.watch, on_step=recorder.on_step, care=care)
            python.run(recorded, raw)
        judged = self.project.memory[self._key(current)] = recorder.judge(current)
        return False, judged.readable or recorder.readable

    def recording(self, current: tuple[str, ...], steps: list[Any]) -> Recording | None:
        """What is known about replaying these steps; None if the next run will tell."""
        why_not = self._cannot_replay(current, steps)
        if why_not:
            return Recording(why_not=why_not)
        return self._known(self._key(current))

    def _known(self, key: tuple[object, ...]) -> Recording | None:
        found: Recording | None = self.project.memory.get(key)
        return found if found is None or found.files.hold() else None

    def _cannot_replay(self, current: tuple[str, ...], steps: list[Any]) -> str | None:
        environment = self.project.environment_of(self.address, self.x)
        reasons = {
            "replaying is switched off": not self.policy.replay or self.listener is not None,
            "a stamp runs nothing": self.direction is Direction.STAMP,
            "it has no version yet": not current,
            "this database commits each statement, so each revision is announced first": (
                not self.address.dialect.transactional_ddl
            ),
            "env.py is executed for each database": environment.mode is Mode.EXECUTED,
            "env.py wants to be told of each revision": "on_version_apply" in environment.options,
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
        x = tuple(sorted(self.x.items()))
        return ("recording", self.address.url.drivername, x, self.direction, self.target, current)

    def _job(self, steps: list[Any]) -> python.Job:
        return python.Job(
            project=self.project,
            address=self.address,
            x=self.x,
            direction=self.direction,
            target=self.target,
            steps=steps,
            me=self.policy.me,
            care=python.care_for(self.address, self.policy, adopts=self.adopts),
            on_step=from_outside(self.on_step) if self.on_step else None,
            watch=self.listener,
            per_migration=self.direction is not Direction.STAMP and self._per_migration(steps),
        )


def _both(first: Watch, second: Watch | None) -> Watch:
    def watch(migration: MigrationContext) -> None:
        first(migration)
        if second:
            second(migration)

    return watch
