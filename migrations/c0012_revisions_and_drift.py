"""The revision register, and how databases differ from it

Revision ID: c0012
Revises: c0011
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0012"
down_revision = "c0011"
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
        "revision",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("revision", _exact(128), nullable=False),
        sa.Column("checksum", sa.String(64), nullable=False),
        sa.Column("parents", sa.JSON, nullable=False),
        sa.Column("depends_on", sa.JSON, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("message", sa.Unicode(1000), nullable=False),
        sa.Column("path", sa.String(1024), nullable=False),
        sa.Column("script", LONG),
        sa.Column("sql", sa.JSON, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("present", sa.Boolean, nullable=False),
        sa.Column("first_seen_at", TIME, nullable=False, server_default=now),
        sa.Column("last_seen_at", TIME, nullable=False, server_default=now),
        sa.Column("rollout_id", sa.Integer),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revision")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_revision_project_id"), ondelete="CASCADE"
        ),
        **UTF8,
    )
    op.create_index(
        "uq_revision_project_id_revision_checksum",
        "revision",
        ["project_id", "revision", "checksum"],
        unique=True,
    )
    op.create_table(
        "difference",
        sa.Column("id", KEY, nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("database_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("says", LONG, nullable=False),
        sa.Column("mend", LONG),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_difference")),
        sa.ForeignKeyConstraint(
            ["database_id"],
            ["database.id"],
            name=op.f("fk_difference_database_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_difference_project_id"),
            ondelete="CASCADE",
        ),
        **UTF8,
    )
    op.create_index("ix_difference_database_id", "difference", ["database_id"])
    op.create_index("ix_difference_project_id_digest", "difference", ["project_id", "digest"])
    op.create_table(
        "ignored",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("says", LONG, nullable=False),
        sa.Column("reason", sa.Unicode(200), nullable=False),
        sa.Column("by_name", sa.String(128), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_ignored")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_ignored_project_id"), ondelete="CASCADE"
        ),
        **UTF8,
    )
    op.create_index(
        "uq_ignored_project_id_digest", "ignored", ["project_id", "digest"], unique=True
    )


def downgrade() -> None:
    op.drop_table("ignored")
    op.drop_table("difference")
    op.drop_table("revision")


def _exact(length: int) -> sa.String:
    """MariaDB would take é for e and A for a; the others do not."""
    mariadb = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(mariadb, "mysql", "mariadb")
