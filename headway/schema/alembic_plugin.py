"""Alembic's autogenerate leaves the history table alone, whoever starts it.

Loaded by Alembic itself, by the entry point `alembic.plugins`, so that `flask db migrate`,
Flask-Alembic and a plain `alembic revision --autogenerate` write no revision that drops it. As with
Alembic's own version table, nobody has to say so in env.py.
"""

from typing import Any

from alembic.util import DispatchPriority, PriorityDispatchResult


def setup(plugin: Any) -> None:
    """Register the comparison; called by Alembic when it is imported."""
    # Without an option of env.py, Alembic uses only the plugins of this name.
    named = type(plugin)("alembic.autogenerate.headway")
    named.add_autogenerate_comparator(keep_history, "schema", priority=DispatchPriority.LAST)


def keep_history(_context: Any, upgrade_ops: Any, _schemas: Any) -> PriorityDispatchResult:
    """Take the drop of the history table out of what was found."""
    # Not before: Alembic imports this module while it is imported itself.
    from alembic.operations.ops import DropTableOp  # noqa: PLC0415

    from headway.history import NAME  # noqa: PLC0415

    upgrade_ops.ops = [
        one
        for one in upgrade_ops.ops
        if not (isinstance(one, DropTableOp) and one.table_name == NAME)
    ]
    return PriorityDispatchResult.CONTINUE
