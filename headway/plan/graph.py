"""A stored revision graph: its steps are found without the scripts."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from alembic.runtime.migration import HeadMaintainer, MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from alembic.script.revision import Revision as AlembicRevision
from alembic.script.revision import RevisionMap

from headway.dialects import driver
from headway.dialects.urls import DRIVERS
from headway.errors import PreviewImpossible, TargetInvalid
from headway.plan.plans import Direction
from headway.plan.sql import Offline, Statements
from headway.scripts.alembic_log import silence_alembic_log

SQL_OPTIONS = ("version_table", "version_table_schema", "transaction_per_migration")
"""Options of env.py that the SQL around revisions depends on."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One revision: its id, parents, dependencies and labels."""

    id: str
    parents: tuple[str, ...] = ()
    depends_on: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    """The revision's own labels, not those of its branch."""
    message: str = ""


class Graph:
    """Revisions and their parents. Its steps are Alembic's own, in Alembic's order."""

    def __init__(self, nodes: Iterable[Node], folder: Path) -> None:
        self.nodes = {node.id: node for node in nodes}
        self.folder = folder
        """What errors call it."""
        self.directory = _Directory(self.nodes.values())

    @cached_property
    def heads(self) -> tuple[str, ...]:
        """Revisions that are no other's parent."""
        parents = {parent for node in self.nodes.values() for parent in node.parents}
        return tuple(sorted(self.nodes.keys() - parents))

    def through(self, names: Sequence[str], way: Direction, current: Sequence[str]) -> list[Any]:
        """Alembic's steps for exactly these revisions, in this order; a stamp leads to them."""
        if way is Direction.STAMP:
            # FRAGILE: private in Alembic; takes several where its own command does.
            return list(self.directory._stamp_revs(tuple(names), tuple(current)))  # noqa: SLF001
        make = MigrationStep.upgrade_from_script
        if way is Direction.DOWNGRADE:
            make = MigrationStep.downgrade_from_script
        revisions = self.directory.revision_map
        found: list[Any] = [revisions.get_revision(name) for name in names]
        return [make(revisions, one) for one in found]

    def ends(self, steps: Sequence[Any], current: Sequence[str]) -> tuple[str, ...]:
        """The revisions that these steps lead to. Raises TargetInvalid if they cannot be run."""
        heads = _Heads(current)
        try:
            for step in steps:
                heads.update_to_step(step)
        except (KeyError, AssertionError) as error:  # Alembic's bookkeeping has no words for it
            raise TargetInvalid(
                f"The steps from {', '.join(current) or 'base'} cannot be followed in "
                f"{self.folder}: Alembic's own bookkeeping breaks on this graph."
            ) from error
        return tuple(sorted(heads.heads))

    def sql(
        self,
        steps: Sequence[Any],
        current: Sequence[str],
        *,
        dialect: str,
        texts: Mapping[str, str],
        options: Mapping[str, Any],
    ) -> str:
        """The script that Alembic would write for these steps, from the texts of each revision.

        Raises PreviewImpossible where Alembic's bookkeeping breaks on this graph.
        """
        kind: Any = type(driver.dialect_for(DRIVERS[dialect]))
        buffer = Statements()
        opts = {name: value for name, value in options.items() if name in SQL_OPTIONS}
        opts |= {"as_sql": True, "literal_binds": True, "output_buffer": buffer}
        opts |= {"starting_rev": tuple(current) or None, "fn": lambda *_: steps}
        if dialect in ("sqlite", "postgresql"):
            opts["transactional_ddl"] = True
        connection: Any = Offline(kind(paramstyle="named"))
        try:
            with silence_alembic_log():
                context = MigrationContext.configure(connection, opts=opts)
                with context.begin_transaction():
                    context.run_migrations(write=lambda name: buffer.found.append(texts[name]))
        except (KeyError, AssertionError) as error:
            raise PreviewImpossible("Alembic cannot follow these steps.") from error
        return "\n\n".join(filter(None, buffer.found)) + "\n"


class _Heads(HeadMaintainer):
    """Alembic's record of current heads, without a version table."""

    def __init__(self, heads: Collection[str]) -> None:
        self.heads = set(heads)

    # FRAGILE: private in Alembic; covered by tests on random graphs.
    def _insert_version(self, version: str) -> None:
        self.heads.add(version)

    def _delete_version(self, version: str) -> None:
        self.heads.remove(version)

    def _update_version(self, from_: str, to_: str) -> None:
        self.heads.remove(from_)
        self.heads.add(to_)


class _Revision(AlembicRevision):
    """Alembic's revision, with the attributes that it reads from a script."""

    def __init__(self, node: Node) -> None:
        parents: Any = node.parents[0] if len(node.parents) == 1 else node.parents or None
        super().__init__(node.id, parents, node.depends_on or None, node.labels or None)
        self.doc = node.message
        self.module = SimpleNamespace(upgrade=_writes(node.id), downgrade=_writes(node.id, "down"))


def _writes(name: str, way: str = "up") -> Callable[..., None]:
    def work(write: Callable[[str], None]) -> None:
        write(name)

    work.__name__ = f"{way}grade"  # Alembic writes it into the script
    return work


class _Directory(ScriptDirectory):
    """Alembic's script directory, without a directory."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self.dir = ""
        self.revision_map = RevisionMap(lambda: [_Revision(node) for node in nodes])
