"""Idempotency keys: a POST that is sent twice does its work once

Revision ID: c0010
Revises: c0009
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0010"
down_revision = "c0009"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
UTF8: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}


def upgrade() -> None:
    on_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    now = sa.text("CURRENT_TIMESTAMP(6)" if on_mysql else "CURRENT_TIMESTAMP")
    op.create_table(
        "idempotency_key",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("account_id", sa.Integer, nullable=False),
        sa.Column("key", _exact(128), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("subject_id", sa.Integer, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_idempotency_key")),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["account.id"],
            name=op.f("fk_idempotency_key_account_id"),
            ondelete="CASCADE",
        ),
        **UTF8,
    )
    op.create_index(
        "uq_idempotency_key_account_id_key", "idempotency_key", ["account_id", "key"], unique=True
    )


def downgrade() -> None:
    op.drop_table("idempotency_key")


def _exact(length: int) -> sa.String:
    """MariaDB would take é for e and A for a; the others do not."""
    mariadb = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(mariadb, "mysql", "mariadb")
