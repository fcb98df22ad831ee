"""Events: the audit trail

Revision ID: c0008
Revises: c0007
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0008"
down_revision = "c0007"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
UTF8: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}
KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    on_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    now = sa.text("CURRENT_TIMESTAMP(6)" if on_mysql else "CURRENT_TIMESTAMP")
    op.create_table(
        "event",
        sa.Column("id", KEY, nullable=False),
        sa.Column("at", TIME, nullable=False, server_default=now),
        sa.Column("actor_id", sa.Integer),
        sa.Column("actor_name", sa.String(128), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject_type", sa.String(32), nullable=False),
        sa.Column("subject_id", sa.Integer),
        sa.Column("detail", sa.JSON, nullable=False),
        sa.Column("request_id", sa.String(64)),
        sa.Column("ip", sa.String(45)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        **UTF8,
    )
    op.create_index("ix_event_subject", "event", ["subject_type", "subject_id"])


def downgrade() -> None:
    op.drop_table("event")
