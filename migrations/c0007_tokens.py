"""Credentials: tokens, of which only a digest is kept

Revision ID: c0007
Revises: c0006
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0007"
down_revision = "c0006"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
UTF8: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}


def upgrade() -> None:
    on_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    now = sa.text("CURRENT_TIMESTAMP(6)" if on_mysql else "CURRENT_TIMESTAMP")
    op.create_table(
        "token",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("account_id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("prefix", _exact(16), nullable=False),
        sa.Column("digest", _exact(64), nullable=False),
        sa.Column("one_time", sa.Boolean, nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("expires_at", TIME),
        sa.Column("last_used_at", TIME),
        sa.Column("revoked_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token")),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["account.id"],
            name=op.f("fk_token_account_id"),
            ondelete="CASCADE",
        ),
        **UTF8,
    )
    op.create_index("uq_token_prefix", "token", ["prefix"], unique=True)
    op.create_index("ix_token_account_id", "token", ["account_id"])


def downgrade() -> None:
    op.drop_table("token")


def _exact(length: int) -> sa.String:
    """MariaDB would take é for e and A for a; the others do not."""
    mariadb = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(mariadb, "mysql", "mariadb")
