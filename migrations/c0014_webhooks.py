"""Webhooks and what they were told

Revision ID: c0014
Revises: c0013
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0014"
down_revision = "c0013"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
LONG = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
UTF8: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}


def upgrade() -> None:
    on_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    now = sa.text("CURRENT_TIMESTAMP(6)" if on_mysql else "CURRENT_TIMESTAMP")
    op.create_table(
        "webhook",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("url", LONG, nullable=False),
        sa.Column("address", sa.String(255), nullable=False),
        sa.Column("secret", LONG, nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("by_id", sa.Integer),
        sa.Column("by_name", sa.String(128), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
        **UTF8,
    )
    op.create_table(
        "delivery",
        sa.Column("id", KEY, nullable=False),
        sa.Column("webhook_id", sa.Integer, nullable=False),
        sa.Column("event", sa.String(64), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
        sa.Column("next_at", TIME, nullable=False, server_default=now),
        sa.Column("status", sa.Integer),
        sa.Column("error", LONG),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("delivered_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhook.id"], name=op.f("fk_delivery_webhook_id"), ondelete="CASCADE"
        ),
        **UTF8,
    )
    op.create_index("ix_delivery_state_next_at", "delivery", ["state", "next_at"])
    op.create_index("ix_delivery_webhook_id", "delivery", ["webhook_id", "id"])


def downgrade() -> None:
    op.drop_table("delivery")
    op.drop_table("webhook")
