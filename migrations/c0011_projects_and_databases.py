"""Projects and databases: the fleet, and where each of it stands

Revision ID: c0011
Revises: c0010
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0011"
down_revision = "c0010"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
LONG = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
UTF8: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}


def upgrade() -> None:
    on_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    now = sa.text("CURRENT_TIMESTAMP(6)" if on_mysql else "CURRENT_TIMESTAMP")
    sought = sa.func.lower(sa.column("name", sa.String) + " " + sa.column("address", sa.String))
    op.create_table(
        "project",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", _exact(64), nullable=False),
        sa.Column("location", sa.String(1024), nullable=False),
        sa.Column("ini", sa.String(1024)),
        sa.Column("x", sa.JSON, nullable=False),
        sa.Column("notes", sa.Unicode(1000)),
        sa.Column("state", sa.String(16), nullable=False, server_default="waiting"),
        sa.Column("problem", LONG),
        sa.Column("heads", sa.JSON, nullable=False),
        sa.Column("digest", sa.String(64)),
        sa.Column("environment", sa.JSON, nullable=False),
        sa.Column("loaded_at", TIME),
        sa.Column("refresh_seconds", sa.Integer, nullable=False, server_default="300"),
        sa.Column("refresh_asked_at", TIME),
        sa.Column("refreshed_at", TIME),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("updated_at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
        **UTF8,
    )
    op.create_index("uq_project_name", "project", ["name"], unique=True)
    op.create_table(
        "database",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("project_id", sa.Integer, nullable=False),
        sa.Column("owner_id", sa.Integer),
        sa.Column("name", _exact(128), nullable=False),
        sa.Column("notes", sa.Unicode(1000)),
        sa.Column("url", LONG),
        sa.Column("reference", sa.String(1024)),
        sa.Column("address", sa.String(1024), nullable=False),
        sa.Column("sought", _exact(1160, c=True), sa.Computed(sought, persisted=True)),
        sa.Column("identity", sa.String(64)),
        sa.Column("dialect", sa.String(16)),
        sa.Column("server", sa.String(255)),
        sa.Column("strategy", sa.String(16), nullable=False, server_default="wave"),
        sa.Column("pin_reason", sa.Unicode(200)),
        sa.Column("pin_until", TIME),
        sa.Column("rollout_id", sa.Integer),
        sa.Column("position", sa.String(16), nullable=False),
        sa.Column("current", _exact(255), nullable=False),
        sa.Column("pending", sa.Integer),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("milliseconds", sa.Float),
        sa.Column("reason", LONG),
        sa.Column("asked_at", TIME),
        sa.Column("seen_at", TIME),
        sa.Column("drift", sa.Integer),
        sa.Column("drift_at", TIME),
        sa.Column("retired_at", TIME),
        sa.Column("version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.Column("updated_at", TIME, nullable=False, server_default=now),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_database")),
        sa.ForeignKeyConstraint(
            ["owner_id"], ["account.id"], name=op.f("fk_database_owner_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_database_project_id")
        ),
        **UTF8,
    )
    op.create_index("ix_database_asked_at", "database", ["project_id", "asked_at"])
    op.create_index("ix_database_drift", "database", ["drift", "id"])
    op.create_index("ix_database_owner_id", "database", ["owner_id", "id"])
    op.create_index("ix_database_position", "database", ["position", "id"])
    op.create_index("ix_database_pin_until", "database", ["pin_until", "id"])
    op.create_index("ix_database_project_id", "database", ["project_id", "id"])
    op.create_index("ix_database_project_id_current", "database", ["project_id", "current", "id"])
    op.create_index("ix_database_project_id_position", "database", ["project_id", "position", "id"])
    op.create_index("ix_database_retired_at", "database", ["retired_at"])
    op.create_index("ix_database_rollout_id", "database", ["rollout_id", "id"])
    op.create_index("uq_database_identity", "database", ["identity"], unique=True)
    op.create_index("uq_database_project_id_name", "database", ["project_id", "name"], unique=True)
    op.create_table(
        "label",
        sa.Column("database_id", sa.Integer, nullable=False),
        sa.Column("name", _exact(64), nullable=False),
        sa.Column("value", _exact(128), nullable=False),
        sa.PrimaryKeyConstraint("database_id", "name", name=op.f("pk_label")),
        sa.ForeignKeyConstraint(
            ["database_id"], ["database.id"], name=op.f("fk_label_database_id"), ondelete="CASCADE"
        ),
        **UTF8,
    )
    op.create_index("ix_label_name_value", "label", ["name", "value", "database_id"])
    op.create_table(
        "standing",
        sa.Column("project_id", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("position", sa.String(16), nullable=False),
        sa.Column("current", _exact(255), nullable=False),
        sa.Column("databases", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("project_id", "position", "current", name=op.f("pk_standing")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["project.id"], name=op.f("fk_standing_project_id"), ondelete="CASCADE"
        ),
        **UTF8,
    )


def downgrade() -> None:
    op.drop_table("standing")
    op.drop_table("label")
    op.drop_table("database")
    op.drop_table("project")


def _exact(length: int, *, c: bool = False) -> sa.String:
    """MariaDB would take é for e and A for a; the others do not. "C" makes searches quick."""
    mariadb = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    found = sa.String(length).with_variant(mariadb, "mysql", "mariadb")
    return found.with_variant(sa.String(length, collation="C"), "postgresql") if c else found
