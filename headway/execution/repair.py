"""Repair a database: undo a torn revision, clean up after killed runs. Only on request."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, delete, select, table
from sqlalchemy.sql import column

from headway import history
from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.dialects import VersionTable, dialect_of
from headway.dialects.driver import Raw
from headway.dialects.sqlite.undo import leftover_sql
from headway.dialects.types import VERSIONS
from headway.errors import RepairRefused
from headway.execution.half import Half, rows_in, run_repair
from headway.isolation.isolated import isolated
from headway.scripts.files import Scripts
from headway.scripts.project import ScriptProject
from headway.status import judged, read, version_table
from headway.types import Holder, Status, Verdict


@dataclass(frozen=True, kw_only=True)
class RepairPlan:
    """What a repair would do; shown before it is done."""

    torn: str | None = None
    statements: tuple[str, ...] = ()
    """Statements that undo the torn revision, or end a broken batch operation."""
    rows: tuple[str, ...] = ()
    """Tables that the statements drop and that hold rows, with their counts."""
    to_review: tuple[str, ...] = ()
    """Sentences on what a person has to check, because the statements do not change it."""
    verdict: Verdict | None = None
    record: tuple[str, ...] = ()
    """Revisions whose present checksum replaces the recorded one."""
    forget: tuple[str, ...] = ()
    """Applied revisions that have no script any more."""
    claim: tuple[str, ...] = ()
    """Revisions below the current one that are recorded as applied."""
    leftovers: tuple[str, ...] = ()
    """Temporary tables of a broken batch operation."""
    clears: bool = False
    """True if the history of a killed run is dropped."""

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to repair."""
        changes = self.torn or self.record or self.forget or self.claim or self.leftovers
        return not (changes or self.clears)

    def lines(self) -> list[str]:
        """The plan in lines of text."""
        lines = [f"accept the present script of {revision}" for revision in self.record]
        lines += [f"forget {revision}, which has no script" for revision in self.forget]
        lines += [f"record {revision} as applied" for revision in self.claim]
        statements = [f"  {statement}" for statement in self.statements]
        if self.torn and self.verdict:
            lines.append(f"record torn {self.torn} as {self.verdict.value}")
        elif self.torn:
            lines.append(f"undo the applied part of {self.torn}:")
            nothing = (
                "  nothing that its script names" if self.to_review else "  nothing of it stayed"
            )
            lines += statements or [nothing]
            lines += [
                f"  {table}, which go with it: see that they are copies" for table in self.rows
            ]
            lines += self.to_review
            lines.append("Rows that it changed before it broke stay changed.")
        if self.leftovers:
            lines.append("end the batch operation that another tool left half-way:")
            lines += statements
        if self.clears and not self.torn:
            lines.append("drop the history table of a run that was killed")
        return lines


@dataclass(frozen=True, kw_only=True)
class Repairer:
    """Plans and carries out repairs with a project's scripts."""

    scripts: Scripts
    directory: ScriptDirectory
    me: Holder
    command: str
    """The repair command as a person types it."""
    table: VersionTable = VERSIONS
    keeps: bool = True
    """True if the database keeps a history."""

    def plan(self, connection: Connection, status: Status, verdict: Verdict | None) -> RepairPlan:
        """What a repair would do now. Changes nothing. Raises RepairRefused."""
        statements: list[str] = []
        to_review: tuple[str, ...] = ()
        if status.torn and verdict is None:
            half = self._half(connection, status.torn)
            statements, to_review = [*half.undo_statements(connection)], half.lines()
        rows = rows_in(connection, statements)
        for leftover in status.leftovers:
            statements.append(leftover_sql(connection, leftover))
        passing = history.is_passing(connection)
        connection.rollback()
        return RepairPlan(
            torn=status.torn,
            statements=tuple(statements),
            rows=rows,
            to_review=to_review,
            verdict=verdict,
            record=() if passing else status.edited,
            forget=() if passing else status.missing,
            claim=status.out_of_order if verdict is Verdict.APPLIED and not passing else (),
            leftovers=status.leftovers,
            clears=passing and not self.keeps,
        )

    def _half(self, connection: Connection, torn: str) -> Half:
        image = _torn_row(connection).image
        if image is None:
            raise RepairRefused(
                f"What was there before revision {torn} is not known. Fix it by hand, then run "
                f"`{self.command} --as applied` or `--as not-applied`."
            )
        script = self.scripts.by_id.get(torn)
        return Half.found(connection, image, script.path if script else None)

    def carry_out(self, connection: Connection, plan: RepairPlan) -> None:
        """Carry out the plan on a locked connection outside a transaction, and commit."""
        half = None
        if plan.torn and plan.verdict is None:
            half = self._half(connection, plan.torn)
            connection.rollback()
        dialect = dialect_of(connection)
        with dialect.undoing(connection), dialect.migrating(connection, self.table) as rows:
            writing = connection.execution_options(write=True)
            if rows:
                rows.start()
            try:
                run_repair(writing, plan.statements)
                if half:
                    half.check(writing)
                self._write_down(writing, plan)
                if rows:
                    rows.check("repair", announced=(), statements=plan.statements)
            except BaseException:
                writing.rollback()
                raise
            writing.commit()
            if plan.clears:
                history.remove(writing)
                writing.commit()

    def _write_down(self, connection: Connection, plan: RepairPlan) -> None:
        if plan.torn:
            row = _torn_row(connection)
            history.finish(connection, row.id, outcome="repaired", image=None)
            if plan.verdict is Verdict.APPLIED:
                self._stamp(connection, plan.torn, row.action)
                down = row.action == "downgrade"
                self._add(connection, plan.torn, "downgrade" if down else "repair")
        for revision in plan.record + plan.claim:
            self._add(connection, revision, "repair")
        for revision in plan.forget:
            self._add(connection, revision, "forget")

    def _stamp(self, connection: Connection, revision: str, action: str) -> None:
        """Write the version that the step would have written at its end."""
        options = {"version_table": self.table.name, "version_table_schema": self.table.schema}
        context = MigrationContext.configure(connection, opts=options)
        script = self.scripts.by_id.get(revision)
        if action != "downgrade" or script is None:
            context.stamp(self.directory, revision)
        elif script.parents:
            context.stamp(self.directory, script.parents)  # type: ignore[arg-type]  # takes several
        else:
            versions = table(self.table.name, column("version_num"), schema=self.table.schema)
            connection.execute(delete(versions).where(versions.c.version_num == revision))

    def _add(self, connection: Connection, revision: str, action: str) -> None:
        script = self.scripts.by_id.get(revision)
        history.add(
            connection,
            revision=revision,
            action=action,
            outcome="succeeded",
            by=self.me,
            duration_ms=0,
            checksum=script.checksum if script else None,
        )


def _torn_row(connection: Connection) -> Any:
    open_rows = history.table.c.outcome.in_(("running", "torn"))
    query = select(history.table).where(open_rows).order_by(history.table.c.id.desc())
    return connection.execute(query).first()


# --- any project's database -----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class DatabaseRepair:
    """Repairs of one project's database, with its lock."""

    project: ScriptProject
    address: Address
    x: Mapping[str, str]
    policy: Policy

    def plan(self, verdict: Verdict | None = None) -> RepairPlan:
        """What a repair would do now. No lock, nothing written. Raises RepairRefused."""
        if self.address.path and not self.address.path.exists():  # connecting would make it
            return RepairPlan()
        self._refuse_shared()
        with self.address.open() as raw:
            return self._planned(raw, verdict)

    def run(self, what: Verdict | RepairPlan | None) -> RepairPlan:
        """Repair it under the lock; returns what was done."""
        expected = what if isinstance(what, RepairPlan) else None
        verdict = what.verdict if isinstance(what, RepairPlan) else what
        if expected is None and self.plan(verdict).is_empty:
            return RepairPlan()
        with held(self.address, self.policy) as raw:
            plan = self._planned(raw, verdict)
            if expected is not None and plan != expected:
                raise RepairRefused(
                    "The database changed since the repair was planned. Plan it again."
                )
            with isolated(self.project.modules), self.address.connected(raw) as connection:
                self._repairer().carry_out(connection, plan)
        return plan

    def _planned(self, raw: Raw, verdict: Verdict | None) -> RepairPlan:
        table = self._table()
        status = judged(
            self.project, table, read(self.project, self.address, table, raw), self.policy
        )
        with self.address.connected(raw) as connection:
            return self._repairer().plan(connection, status, verdict)

    def _table(self) -> VersionTable:
        return version_table(self.project, self.address, self.x)

    def _repairer(self) -> Repairer:
        return Repairer(
            scripts=self.project.scripts,
            directory=self.project.directory,
            me=self.policy.me,
            command=self.policy.words.command("repair"),
            table=self._table(),
            keeps=self.policy.history,
        )

    def _refuse_shared(self) -> None:
        if self.address.is_shared:
            raise RepairRefused(
                "This connection has a transaction open. End it first, or give the engine."
            )
