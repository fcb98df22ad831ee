"""Rollouts, their runs, and the workers that do them

Revision ID: c0013
Revises: c0012
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0013"
down_revision = "c0012"
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
        "rollout",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("title", sa.Unicode(200)),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("target", _exact(255), nullable=False),
        sa.Column("selector", sa.JSON, nullable=False),
        sa.Column("waves", sa.JSON, nullable=False),
        sa.Column("sizes", sa.JSON, nullable=False),
        sa.Column("gate", sa.JSON, nullable=False),
        sa.Column("window", sa.JSON),
        sa.Column("concurrency", sa.Integer, nullable=False),
        sa.Column("per_server", sa.Integer, nullable=False),
        sa.Column("timeout_seconds", sa.Float, nullable=False),
        sa.Column("snapshot", sa.Boolean, nullable=False),
        sa.Column("retreat", sa.Boolean, nullable=False),
        sa.Column("by_hand", sa.Boolean, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False, server_default="pending"),
        sa.Column("reason", LONG),
        sa.Column("wave", sa.Integer, nullable=False, server_default="0"),
        sa.Column("wave_done_at", TIME),
        sa.Column("resumes_as", sa.String(16)),
        sa.Column("by_id", sa.Integer),
        sa.Column("by_name", sa.String(128), nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("updated_at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollout")),
        sa.ForeignKeyConstraint(["project_id"], ["project.id"], name=op.f("fk_rollout_project_id")),
        **UTF8,
    )
    op.create_index("ix_rollout_project_id", "rollout", ["project_id", "id"])
    op.create_index("ix_rollout_stage", "rollout", ["stage", "id"])
    op.create_table(
        "approval",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("rollout_id", sa.Integer, nullable=False),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("account_id", sa.Integer, nullable=False),
        sa.Column("account_name", sa.String(128), nullable=False),
        sa.Column("at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_approval")),
        sa.ForeignKeyConstraint(
            ["rollout_id"], ["rollout.id"], name=op.f("fk_approval_rollout_id"), ondelete="CASCADE"
        ),
        **UTF8,
    )
    op.create_index("uq_approval_rollout_id_wave", "approval", ["rollout_id", "wave"], unique=True)
    op.create_table(
        "run",
        sa.Column("id", KEY, nullable=False),
        sa.Column("rollout_id", sa.Integer, nullable=False),
        sa.Column("database_id", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("wave", sa.Integer, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False, server_default="1"),
        sa.Column("server", sa.String(255)),
        sa.Column("state", sa.String(16), nullable=False, server_default="pending"),
        sa.Column("worker", sa.String(128)),
        sa.Column("retry_at", TIME),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("seconds", sa.Float),
        sa.Column("before", _exact(255)),
        sa.Column("aim", _exact(255)),
        sa.Column("after", _exact(255)),
        sa.Column("applied", sa.JSON),
        sa.Column("replayed", sa.Boolean),
        sa.Column("error", LONG),
        sa.Column("problem", sa.String(64)),
        sa.Column("log", LONG),
        sa.Column("sql_digest", sa.String(64)),
        sa.Column("snapshot", sa.String(1024)),
        sa.Column("replaced_by", sa.BigInteger),
        sa.Column("undoes", sa.BigInteger),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
        sa.ForeignKeyConstraint(["database_id"], ["database.id"], name=op.f("fk_run_database_id")),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollout.id"], name=op.f("fk_run_rollout_id")),
        **UTF8,
    )
    op.create_index("ix_run_database_id", "run", ["database_id", "id"])
    op.create_index("ix_run_rollout_id_state", "run", ["rollout_id", "state", "wave", "seq"])
    op.create_index("ix_run_state_server", "run", ["state", "server"])
    op.create_table(
        "run_sql",
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("text", LONG, nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_run_sql")),
        **UTF8,
    )
    op.create_table(
        "worker",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", _exact(128), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("release", sa.String(64), nullable=False),
        sa.Column("engine", sa.String(16), nullable=False),
        sa.Column("done", sa.Integer, nullable=False, server_default="0"),
        sa.Column("started_at", TIME, nullable=False, server_default=now),
        sa.Column("beat_at", TIME, nullable=False, server_default=now),
        sa.Column("stopped_at", TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
        **UTF8,
    )
    op.create_index("uq_worker_name", "worker", ["name"], unique=True)
    op.create_table(
        "lease",
        sa.Column("name", _exact(64), nullable=False),
        sa.Column("holder", sa.String(128), nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
        **UTF8,
    )


def downgrade() -> None:
    op.drop_table("lease")
    op.drop_table("worker")
    op.drop_table("run_sql")
    op.drop_table("run")
    op.drop_table("approval")
    op.drop_table("rollout")


def _exact(length: int) -> sa.String:
    """MariaDB would take é for e and A for a; the others do not."""
    mariadb = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(mariadb, "mysql", "mariadb")
