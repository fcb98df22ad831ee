"""Counts of runs and of labels are kept, and attempts count up over retries

Revision ID: c0020
Revises: c0019
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0020"
down_revision = "c0019"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
UTF8: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}

DATABASE = sa.table("database", *map(sa.column, ("id", "project_id", "retired_at")))
LABEL = sa.table("label", *map(sa.column, ("database_id", "name", "value")))
LABEL_COUNT = sa.table("label_count", *map(sa.column, ("project_id", "name", "value", "databases")))
COUNTED = (
    sa.select(DATABASE.c.project_id, LABEL.c.name, LABEL.c.value, sa.func.count())
    .join(LABEL, LABEL.c.database_id == DATABASE.c.id)
    .where(DATABASE.c.retired_at.is_(None))
    .group_by(DATABASE.c.project_id, LABEL.c.name, LABEL.c.value)
)


def upgrade() -> None:
    op.create_table(
        "run_tally",
        sa.Column("id", KEY, nullable=False),
        sa.Column("rollout_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("runs", sa.Integer, nullable=False),
        sa.Column("succeeded", sa.Integer, nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("began_at", TIME),
        sa.Column("at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run_tally")),
        **UTF8,
    )
    op.create_index("ix_run_tally_rollout_id", "run_tally", ["rollout_id", "at"])
    # Runs that end from now on add to what there is.
    op.execute(
        "INSERT INTO run_tally (rollout_id, kind, wave, runs, succeeded, seconds) "
        "SELECT rollout_id, kind, wave, count(*), "
        "sum(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END), "
        "coalesce(sum(CASE WHEN finished_at IS NOT NULL THEN seconds END), 0) "
        "FROM run WHERE replaced_by IS NULL GROUP BY rollout_id, kind, wave"
    )
    op.create_table(
        "label_count",
        sa.Column("project_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("name", _exact(64), nullable=False),
        sa.Column("value", _exact(128), nullable=False),
        sa.Column("databases", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_label_count_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("project_id", "name", "value", name=op.f("pk_label_count")),
        **UTF8,
    )
    op.create_index("ix_label_count_name_value", "label_count", ["name", "value"])
    op.execute(sa.insert(LABEL_COUNT).from_select(list(LABEL_COUNT.c), COUNTED))
    op.add_column("run", sa.Column("first_attempt", sa.Integer, nullable=False, server_default="1"))
    op.add_column("run", sa.Column("waits", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    op.drop_column("run", "waits")
    op.drop_column("run", "first_attempt")
    op.drop_table("label_count")
    op.drop_table("run_tally")


def _exact(length: int) -> sa.String:
    mariadb = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(mariadb, "mysql", "mariadb")
