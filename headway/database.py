"""One database of one project: status, plan, upgrade, downgrade, repair, compare.

What runs revisions, and builds and compares schemas, is imported by the methods that do so: a boot
that has nothing to do, and a command that asks where a database stands, do not pay for it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from headway import history as records
from headway import status as verdict
from headway.connections.address import Address
from headway.connections.lock import NAME as LOCK
from headway.connections.session import Policy, Waiting, held
from headway.errors import DatabaseAhead, ScriptsUnreadable
from headway.types import Holder, Outcome, Status, Verdict

if TYPE_CHECKING:
    from alembic.operations import Operations
    from sqlalchemy import MetaData

    from headway.execution.migration import Move
    from headway.execution.rehearsal import Rehearsal
    from headway.execution.repair import DatabaseRepair, RepairPlan
    from headway.execution.run import OnStep
    from headway.plan.plans import Plan
    from headway.plan.risks import Risk
    from headway.plan.sql import Span
    from headway.schema.adopt import Match
    from headway.schema.drift import Comparison, Drift
    from headway.schema.sync import Sync
    from headway.scripts.project import ScriptProject

SAME = "a real run sent the same statements as Alembic renders without a database"
ANSWERED = (
    "it asks the database for its schema and sends what follows from the answers, which are known: "
    "where they are others, it is run as Python"
)


@dataclass(frozen=True)
class Database:
    """A database of a project, made by `Project.at`.

    Nothing is opened before a method is called.
    """

    project: "ScriptProject"
    address: Address
    x: Mapping[str, str]
    policy: Policy

    def __repr__(self) -> str:
        return f"Database({str(self.address)!r})"

    # --- status -----------------------------------------------------------------------------

    def status(self) -> Status:
        """Position, current and pending revisions: no lock, nothing written, no revision imported.

        Not an error but an answer: a database that cannot be reached (`unreachable`), or whose
        version is nothing that Alembic or Headway writes (`foreign`).
        """
        return verdict.found(self.project, self.address, self.x, self.policy)

    def plan(self, target: str = "heads", direction: str | None = None) -> "Plan":
        """The steps from the current revisions to a target, in Alembic's order. Changes nothing.

        `direction` is `upgrade`, `downgrade` or `stamp`; by default the target tells. Raises
        RevisionNotFound, SeveralHeads or TargetInvalid.
        """
        from headway.plan import plans
        from headway.plan.plans import Direction, Plan

        current = self.status().current
        way = Direction(direction) if direction else None
        way = way or plans.direction_of(self.project, target, current)
        steps = plans.alembic_steps(self.project, way, target, current)
        recording = self._move(way, target).recording(current, steps)
        environment = self.project.environment_for(self.address.url, self.x)
        return Plan(
            database=str(self.address),
            dialect=self.address.dialect.name,
            direction=way,
            target=target,
            current=current,
            steps=plans.described(self.project, plans.step_names(steps, way)),
            environment=f"{environment.mode}: {environment.why}",
            replays=None if recording is None else recording.why_not is None,
            why=recording.why_not or (ANSWERED if recording.asks else SAME)
            if recording
            else "unknown until the first run of this upgrade",
        )

    def preview(self, plan: "Plan") -> str:
        """The plan as SQL. Raises PreviewImpossible if a revision queries the database."""
        from headway.plan.sql import render

        return render(self._span(plan))

    def risks(self, plan: "Plan") -> "tuple[Risk, ...]":
        """What could go wrong with a plan, given the rows that are in the database now.

        Found by recording the revisions' operations without running them, and by queries. For
        PostgreSQL, squawk's findings are added if it is installed.
        """
        from headway.plan.risks import risks_in

        return risks_in(self._span(plan))

    def rehearse(self, plan: "Plan") -> "Rehearsal":
        """Run a plan on a copy and report duration, statements and locks.

        The database is not changed.
        """
        from headway.execution.rehearsal import rehearse

        return rehearse(self._move(plan.direction, plan.target, expected=plan))

    def _span(self, plan: "Plan") -> "Span":
        from headway.plan.sql import Span

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
        on_step: "OnStep | None" = None,
        waiting: Waiting | None = None,
    ) -> Outcome:
        """Run the steps to a target: all of them or, where the database allows it, none.

        `on_step(number, total, revision)` is called before each step, `waiting(holder)` while
        another process holds the lock. Raises a HeadwayError with the reason; its message says what
        was applied and what is left.
        """
        return self._move("upgrade", target, on_step, waiting).make()

    def downgrade(
        self, target: str, *, on_step: "OnStep | None" = None, waiting: Waiting | None = None
    ) -> Outcome:
        """Take it back to a target (`-1`, `base`, a revision id), as safely as `upgrade`."""
        return self._move("downgrade", target, on_step, waiting).make()

    def apply(
        self, plan: "Plan", *, on_step: "OnStep | None" = None, waiting: Waiting | None = None
    ) -> Outcome:
        """Run a plan. Raises DatabaseMoved if the current revisions are no longer the plan's."""
        return self._move(plan.direction, plan.target, on_step, waiting, plan).make()

    def stamp(self, target: str | tuple[str, ...] = "heads", *, purge: bool = False) -> Outcome:
        """Record that the database is at a target; `purge` forgets what it says now, first."""
        return replace(self._move("stamp", target), purges=purge).make()

    def create(self, target: str = "heads", *, on_step: "OnStep | None" = None) -> tuple[str, ...]:
        """Create the database at a target; returns the revisions that it is at.

        It is copied from a template that the revisions built once, so the time does not depend on
        their number. `on_step` is called before each revision that runs in it; none does if a
        template is copied. Raises DatabaseExists; an empty SQLite file counts as missing.
        """
        from headway.execution import create

        place = (self.project, self.address, self.x, self.policy)
        return create.create(*place, target, on_step=on_step)

    def _move(
        self,
        direction: str,
        target: str | tuple[str, ...],
        on_step: "OnStep | None" = None,
        waiting: Waiting | None = None,
        expected: "Plan | None" = None,
    ) -> "Move":
        from headway.execution.migration import Move
        from headway.plan.plans import Direction

        return Move(
            project=self.project,
            address=self.address,
            x=self.x,
            policy=self.policy,
            direction=Direction(direction),
            target=target,
            expected=expected,
            on_step=on_step,
            waiting=waiting,
        )

    # --- repair -----------------------------------------------------------------------------

    def plan_repair(self, verdict: Verdict | None = None) -> "RepairPlan":
        """What `repair` would do now. No lock, nothing written.

        `verdict` is `applied` or `not-applied` for a torn revision that was fixed by hand; without
        it, its changes are to be undone. Raises RepairRefused if that would lose something.
        """
        return self._repair.plan(verdict)

    def repair(self, verdict: "Verdict | RepairPlan | None" = None) -> "RepairPlan":
        """Undo a torn revision's changes and clean up after killed runs; returns what was done.

        Given a plan, exactly that is done. Raises RepairRefused if data would be lost, or if the
        plan is out of date.
        """
        return self._repair.run(verdict)

    @property
    def _repair(self) -> "DatabaseRepair":
        from headway.execution.repair import DatabaseRepair

        return DatabaseRepair(
            project=self.project, address=self.address, x=self.x, policy=self.policy
        )

    # --- copies -----------------------------------------------------------------------------

    def snapshot(self) -> Path | None:
        """Copy a SQLite file under the lock; returns the copy's path.

        Returns None if this kind of database has no snapshots, or if it is empty.
        """
        with held(self.address, self.policy) as raw:
            label = "+".join(self.status().current) or "base"
            return self.address.dialect.snapshot(raw, self.address.url, label)

    def restore(self, snapshot: str | Path) -> None:
        """Replace a SQLite file by a snapshot. The replaced file is kept beside it."""
        from headway.connections.restore import restore

        restore(self.address, self.policy, Path(snapshot))

    # --- compare ----------------------------------------------------------------------------

    def check(self) -> "Drift":
        """Differences between the schema, what its revisions create, and the models.

        Needs no models: the revisions are run once in an empty database of the same server.
        Raises MigrationFailed where one of them cannot be, and DatabaseDenied where the account
        may make no database.
        """
        status = self.status()
        if status.newer:
            raise verdict.refusal(self.address, status, self.policy.words) or DatabaseAhead()
        with self.address.open() as raw, self.address.connected(raw) as connection:
            return self._comparison.drift(connection, status.current)

    def adopt(self, *, waiting: Waiting | None = None) -> "Match":
        """Find the revisions whose schema an unstamped database has, and stamp it.

        With several branches these may be several revisions. Raises DatabaseUnstamped, with the
        closest revision and each difference, if none matches. A database that has a version is not
        changed.
        """
        from headway.schema.adopt import Match
        from headway.schema.drift import no_match_error

        if not self.project.scripts.by_id:
            raise ScriptsUnreadable(
                f"There is no revision in {self.project.folder} yet. Write the first one: "
                "`revision`."
            )
        if current := self.status().current:
            return Match.at(current)
        # Under the lock: another process that adopts and upgrades it meanwhile would be undone.
        with held(self.address, self.policy, waiting) as raw:
            table = verdict.version_table(self.project, self.address, self.x)
            if current := verdict.read(self.project, self.address, table, raw).versions:
                return Match.at(current)
            with self.address.connected(raw) as connection:
                match = self._comparison.closest(connection)
            if match.differences:
                raise no_match_error(self.address, match, self.policy.words)
            move = self._move("stamp", match.revisions, waiting=waiting)
            replace(move, adopts=True).make_on(raw)
        return match

    def sync(self, metadata: "MetaData", *, drop: bool = False, dry_run: bool = False) -> "Sync":
        """Bring its schema to the models without revision files: see `schema.sync.sync`."""
        from headway.schema.sync import sync

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
    def _comparison(self) -> "Comparison":
        from headway.schema.drift import Comparison

        return Comparison(project=self.project, address=self.address, x=self.x)

    # --- what was done ----------------------------------------------------------------------

    def history(self, limit: int | None = None) -> list[records.Row]:
        """What was done to it, oldest first, or the newest so many; [] where no history is kept."""
        if self.address.path and not self.address.path.exists():
            return []
        with self.address.open() as raw, self.address.connected(raw) as connection:
            if records.NAME not in self.address.dialect.tables(connection):
                return []
            return records.read(connection, limit=limit)

    def lock_holder(self) -> Holder | None:
        """Who is migrating it right now; None if nobody is."""
        if self.address.path and not self.address.path.exists():
            return None
        with self.address.open() as raw:
            return self.address.dialect.lock(raw, self.address.url, LOCK).holder()

    # --- by hand ----------------------------------------------------------------------------

    @contextmanager
    def operations(self) -> "Iterator[Operations]":
        """Alembic's operations on it, under the lock, in one transaction."""
        from alembic.operations import Operations
        from alembic.runtime.migration import MigrationContext

        from headway.dialects.translation import unwrapped

        environment = self.project.environment_for(self.address.url, self.x)
        with (
            unwrapped(),
            held(self.address, self.policy) as raw,
            self.address.connected(raw) as connection,
        ):
            writing = connection.execution_options(write=True)
            with writing.begin() if not self.address.is_shared else writing.begin_nested():
                yield Operations(
                    MigrationContext.configure(writing, opts=environment.options_without_callbacks)
                )
