"""Timestamps are UTC and filled by the server

What was written before was UTC by convention; now the column says so. A row that never got a
time gets the time of this upgrade.

Revision ID: c0004
Revises: c0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0004"
down_revision = "c0003"
branch_labels = None
depends_on = None

OLD = sa.DateTime()
NEW = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
RENAMED = {"created": "created_at", "updated": "updated_at"}


def upgrade() -> None:
    now = _now()
    op.execute(f"UPDATE account SET created = COALESCE(created, updated, {now})")  # noqa: S608
    op.execute("UPDATE account SET updated = COALESCE(updated, created)")
    with op.batch_alter_table("account") as account:
        for old, new in RENAMED.items():
            account.alter_column(
                old,
                new_column_name=new,
                existing_type=OLD,
                type_=NEW,
                nullable=False,
                server_default=sa.text(now),
                postgresql_using=f"{old} AT TIME ZONE 'UTC'",
            )


def downgrade() -> None:
    with op.batch_alter_table("account") as account:
        for old, new in RENAMED.items():
            account.alter_column(
                new,
                new_column_name=old,
                existing_type=NEW,
                type_=OLD,
                nullable=True,
                server_default=None,
                existing_server_default=sa.text(_now()),
                postgresql_using=f"{new} AT TIME ZONE 'UTC'",
            )


def _now() -> str:
    on_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    return "CURRENT_TIMESTAMP(6)" if on_mysql else "CURRENT_TIMESTAMP"
