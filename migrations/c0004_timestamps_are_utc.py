"""Timestamps are UTC and filled by the server

What was written before was UTC by convention; now the column says so. A row that never got a
time gets the time of this upgrade.

Revision ID: c0004
Revises: c0003
"""

import sqlalchemy as sa
from alembic import op

revision = "c0004"
down_revision = "c0003"
branch_labels = None
depends_on = None

OLD = sa.DateTime()
NEW = sa.DateTime(timezone=True)
NOW = {
    "sqlite": "CURRENT_TIMESTAMP",
    # The column has no zone yet, so it would take the wall clock of the session's zone.
    "postgresql": "CURRENT_TIMESTAMP AT TIME ZONE 'UTC'",
}
RENAMED = {"created": "created_at", "updated": "updated_at"}


def upgrade() -> None:
    now = NOW.get(op.get_context().dialect.name, "CURRENT_TIMESTAMP(6)")
    op.execute(f"UPDATE account SET created = COALESCE(created, updated, {now})")  # noqa: S608
    op.execute("UPDATE account SET updated = COALESCE(updated, created)")
    if _on_mysql():
        _change_at_once(RENAMED, "DATETIME(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6)")
        return
    with op.batch_alter_table("account") as account:
        for old, new in RENAMED.items():
            account.alter_column(
                old,
                new_column_name=new,
                existing_type=OLD,
                type_=NEW,
                nullable=False,
                server_default=sa.text("CURRENT_TIMESTAMP"),
                postgresql_using=f"{old} AT TIME ZONE 'UTC'",
            )


def downgrade() -> None:
    if _on_mysql():
        _change_at_once({new: old for old, new in RENAMED.items()}, "DATETIME NULL")
        return
    with op.batch_alter_table("account") as account:
        for old, new in RENAMED.items():
            account.alter_column(
                new,
                new_column_name=old,
                existing_type=NEW,
                type_=OLD,
                nullable=True,
                server_default=None,
                existing_server_default=sa.text("CURRENT_TIMESTAMP"),
                postgresql_using=f"{new} AT TIME ZONE 'UTC'",
            )


def _on_mysql() -> bool:
    return op.get_context().dialect.name in ("mysql", "mariadb")


def _change_at_once(names: dict[str, str], definition: str) -> None:
    """One statement: half of a renaming could not be taken back, for lack of the old column."""
    changes = [f"CHANGE {old} {new} {definition}" for old, new in names.items()]
    op.execute(f"ALTER TABLE account {', '.join(changes)}")
