"""One database of one project: look, plan, upgrade, take back."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import MetaData

from headway import status as verdict
from headway.connections.address import Address
from headway.connections.session import Policy, Waiting, held, pooler_in_the_way
from headway.dialects.sqlite import snapshots
from headway.dialects.translation import unwrapped
from headway.errors import (
    DatabaseAhead,
    DatabaseDamaged,
    DatabaseDenied,
    DatabaseInUse,
    DatabaseUnreachable,
    PreviewImpossible,
    ScriptsUnreadable,
    SnapshotFailed,
    SnapshotNotFound,
)
from headway.execution import create as templates
from headway.execution.migration import Move
from headway.execution.rehearsal import Rehearsal, rehearse
from headway.execution.repair import Mending, Repair, Verdict
from headway.execution.run import OnStep
from headway.plan import plans
from headway.plan.operations import hear
from headway.plan.plans import Direction, Plan
from headway.plan.risks import Risk, notes, predict, squawk
from headway.plan.sql import Span, render
from headway.schema.adopt import Match
from headway.schema.drift import Comparison, Drift, unlike
from headway.schema.sync import Sync, sync
from headway.scripts.project import ScriptProject
from headway.types import Look, Outcome, Position


@dataclass(frozen=True)
class Database:
    """A database of a project. `Project.at` makes one; it opens nothing until it is asked."""

    project: ScriptProject
    address: Address
    x: Mapping[str, str]
    policy: Policy

    def __repr__(self) -> str:
        return f"Database({str(self.address)!r})"

    # --- look -------------------------------------------------------------------------------

    def status(self) -> Look:
        """Where it stands: no lock, nothing written, no revision imported.

        A database that is not there is an answer (`unreachable`), not an error.
        """
        table = verdict.version_table(self.project, self.address, self.x)
        path = self.address.path
        if path and not path.exists():  # connecting would make it
            return Look(
                position=Position.EMPTY,
                heads=self.project.heads,
                pending=verdict.pending(self.project, ()),
            )
        began = time.perf_counter()
        try:
            with self.address.open() as raw:
                peek = self.address.peek(raw, table)
                answered = (time.perf_counter() - began) * 1000
                seen = verdict.judge(self.project, self.address, table, peek, raw)
                warning = pooler_in_the_way(self.address, raw) if seen.pending else None
                return replace(seen, milliseconds=answered, reason=seen.reason or warning)
        except (DatabaseUnreachable, DatabaseDenied, DatabaseDamaged, DatabaseInUse) as error:
            return Look(position=Position.UNREACHABLE, heads=self.project.heads, reason=str(error))

    def plan(self, target: str = "heads", direction: str | None = None) -> Plan:
        """The steps from where it stands to a target, in Alembic's order. Changes nothing.

        `direction` is `upgrade`, `downgrade` or `stamp`; by default the target tells. Raises
        RevisionNotFound, SeveralHeads or TargetInvalid.
        """
        current = self.status().current
        way = Direction(direction) if direction else None
        way = way or plans.direction_of(self.project, target, current)
        steps = plans.alembic_steps(self.project, way, target, current)
        known = self._move(way, target).recording(current, steps)
        environment = self.project.environment_for(self.address.url, self.x)
        return Plan(
            database=str(self.address),
            dialect=self.address.dialect.name,
            direction=way,
            target=target,
            current=current,
            steps=plans.described(self.project, plans.step_names(steps, way)),
            environment=f"{environment.mode}: {environment.why}",
            replays=None if known is None else known.why_not is None,
            why=_why(known.why_not) if known else "the first run of this upgrade will tell",
        )

    def preview(self, plan: Plan) -> str:
        """The plan as SQL, with its transaction. Raises PreviewImpossible where a revision asks."""
        return render(self._span(plan))

    def risks(self, plan: Plan) -> tuple[Risk, ...]:
        """What could go wrong with a plan, and would with the rows that are here now.

        Heard from the revisions without running them, and asked of the database; with squawk
        installed, what it says of the SQL for PostgreSQL too.
        """
        heard = hear(self._span(plan))
        found = notes(heard, self.address.dialect.name)
        if plan.current:
            with self.address.open() as raw, self.address.connected(raw) as connection:
                found += predict(heard, connection)
        if self.address.dialect.name == "postgresql" and not heard.unheard:
            with suppress(PreviewImpossible):
                found += squawk(self.preview(plan))
        return found

    def rehearse(self, plan: Plan) -> Rehearsal:
        """Run a plan on a copy, and tell how it went. The database itself is left as it is."""
        return rehearse(self._move(plan.direction, plan.target, expected=plan))

    def _span(self, plan: Plan) -> Span:
        return Span(
            project=self.project,
            address=self.address,
            x=self.x,
            direction=plan.direction,
            start=plan.current,
            target=plan.target,
        )

    # --- move -------------------------------------------------------------------------------

    def upgrade(
        self,
        target: str = "heads",
        *,
        on_step: OnStep | None = None,
        waiting: Waiting | None = None,
    ) -> Outcome:
        """Bring it to a target: all of the steps or, where the database can, none.

        `on_step(number, total, revision)` is told each step before it runs; `waiting(holder)`
        who is migrating it meanwhile. Raises the HeadwayError that says why not; nothing is
        lost then, and what is left is in its words.
        """
        return self._move(Direction.UPGRADE, target, on_step, waiting).make()

    def downgrade(
        self, target: str, *, on_step: OnStep | None = None, waiting: Waiting | None = None
    ) -> Outcome:
        """Take it back to a target (`-1`, `base`, a revision). As careful as `upgrade`."""
        return self._move(Direction.DOWNGRADE, target, on_step, waiting).make()

    def apply(
        self, plan: Plan, *, on_step: OnStep | None = None, waiting: Waiting | None = None
    ) -> Outcome:
        """Do what the plan says. Raises DatabaseMoved if it stands elsewhere by now."""
        return self._move(plan.direction, plan.target, on_step, waiting, plan).make()

    def stamp(self, target: str = "heads") -> Outcome:
        """Say that it is at a target, and run nothing."""
        return self._move(Direction.STAMP, target).make()

    def create(self, target: str = "heads", *, on_step: OnStep | None = None) -> tuple[str, ...]:
        """Make the database itself, at a target and tagged with it; the revisions it is at.

        A copy of a template that the migrations built once: as quick for 500 revisions as for
        20. Where the revisions are run for it, `on_step` is told of each. Raises DatabaseExists;
        an empty file is no database.
        """
        place = (self.project, self.address, self.x, self.policy)
        return templates.create(*place, target, on_step=on_step)

    def _move(
        self,
        direction: Direction,
        target: str | tuple[str, ...],
        on_step: OnStep | None = None,
        waiting: Waiting | None = None,
        expected: Plan | None = None,
    ) -> Move:
        return Move(
            project=self.project,
            address=self.address,
            x=self.x,
            policy=self.policy,
            direction=direction,
            target=target,
            expected=expected,
            on_step=on_step,
            waiting=waiting,
        )

    # --- mend -------------------------------------------------------------------------------

    def plan_repair(self, verdict: Verdict | None = None) -> Repair:
        """What a repair would do now. No lock, nothing written.

        `verdict` is a person's word on a torn revision, `applied` or `not-applied`; without it
        its half is to be taken back. Raises RepairRefused if that would lose something.
        """
        return self._mending.plan(verdict)

    def repair(self, verdict: "Verdict | Repair | None" = None) -> Repair:
        """Take back the half of a torn revision, and what killed runs left; what was done.

        Given a plan, it is done as shown. Raises RepairRefused if it would lose something, or if
        another plan would be made by now.
        """
        return self._mending.do(verdict)

    @property
    def _mending(self) -> Mending:
        return Mending(project=self.project, address=self.address, x=self.x, policy=self.policy)

    # --- copies -----------------------------------------------------------------------------

    def snapshot(self) -> Path | None:
        """Copy it as it is now, under the lock; where the copy is.

        None where this kind of database has no snapshots, or there is nothing in it.
        """
        with held(self.address, self.policy) as raw:
            label = "+".join(self.status().current) or "base"
            return self.address.dialect.snapshot(raw, self.address.url, label)

    def restore(self, snapshot: str | Path) -> None:
        """Put a snapshot in its place. What it held until now stays beside it."""
        path = self.address.path
        if path is None:
            raise SnapshotNotFound(
                f"{self.address} has no snapshots: they are copies of SQLite files. Restore it "
                "with its server's tools."
            )
        if self.address.connection is not None:
            raise SnapshotFailed(
                f"{self.address} cannot be restored through a connection, which would go on "
                "reading the old file. Give its path or its engine."
            )
        with held(self.address, self.policy):
            snapshots.restore(Path(snapshot), path)
        if self.address.engine is not None:
            self.address.engine.dispose()  # its idle connections have the old file open

    # --- compare ----------------------------------------------------------------------------

    def check(self) -> Drift:
        """How its schema differs from what its revisions make, and from the models.

        Needs no models: the revisions are run once in an empty database of the same server.
        Raises MigrationFailed where one of them cannot be, and DatabaseDenied where the account
        may make no database.
        """
        seen = self.status()
        if seen.newer:
            raise verdict.refusal(self.address, seen) or DatabaseAhead()
        with self.address.open() as raw, self.address.connected(raw) as connection:
            return self._comparison.drift(connection, seen.current)

    def adopt(self) -> Match:
        """Find the revisions that a database without a version is at, and stamp it.

        With several branches these may be several. Raises DatabaseUnstamped, naming the closest
        and each difference, if it is at none; `stamp` takes your word instead. A database that
        has a version is left alone.
        """
        seen = self.status()
        if not self.project.scripts.by_id:
            raise ScriptsUnreadable(
                f"There is no revision in {self.project.folder} that a database could be. Write "
                "the first: `revise`."
            )
        if seen.current:
            return Match(revision=", ".join(seen.current), revisions=seen.current, differences=())
        with self.address.open() as raw, self.address.connected(raw) as connection:
            match = self._comparison.closest(connection)
        if match.differences:
            raise unlike(self.address, match)
        self._move(Direction.STAMP, match.revisions).make()
        return match

    def sync(self, metadata: MetaData, *, drop: bool = False, dry_run: bool = False) -> Sync:
        """Bring its schema to the models with no revision files: see modelsync.sync."""
        environment = self.project.environment_for(self.address.url, self.x)
        return sync(
            self.address,
            metadata,
            self.policy,
            drop=drop,
            dry_run=dry_run,
            options=environment.comparing,
            ours=self._comparison.ours,
        )

    @property
    def _comparison(self) -> Comparison:
        return Comparison(project=self.project, address=self.address, x=self.x)

    # --- by hand ----------------------------------------------------------------------------

    @contextmanager
    def operations(self) -> Iterator[Operations]:
        """Alembic's operations on it, under the lock, in one transaction."""
        environment = self.project.environment_for(self.address.url, self.x)
        with (
            unwrapped(),
            held(self.address, self.policy) as raw,
            self.address.connected(raw) as connection,
        ):
            writing = connection.execution_options(write=True)
            with writing.begin() if not self.address.is_shared else writing.begin_nested():
                yield Operations(MigrationContext.configure(writing, opts=environment.untold))


def _why(why_not: str | None) -> str:
    return why_not or "a real run sent the same statements as Alembic renders without a database"
