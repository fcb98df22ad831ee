"""Rights in single projects, and projects that require approvals

Revision ID: c0017
Revises: c0016
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0017"
down_revision = "c0016"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
UTF8: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}
ROLES = "role IN ('viewer', 'operator', 'admin')"
WITH_MEMBERS = "role IN ('member', 'viewer', 'operator', 'admin')"

ACCOUNT = sa.table("account", sa.column("role"), sa.column("disabled_at", TIME))


def upgrade() -> None:
    now = sa.text("CURRENT_TIMESTAMP(6)" if _on_mysql() else "CURRENT_TIMESTAMP")
    op.create_table(
        "project_grant",
        sa.Column("account_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("project_id", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", TIME, nullable=False, server_default=now),
        sa.CheckConstraint(ROLES, name=op.f("ck_project_grant_role")),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["account.id"],
            name=op.f("fk_project_grant_account_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["project_id"],
            ["project.id"],
            name=op.f("fk_project_grant_project_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("account_id", "project_id", name=op.f("pk_project_grant")),
        **UTF8,
    )
    op.create_index("ix_project_grant_project_id", "project_grant", ["project_id"])
    op.add_column(
        "project",
        sa.Column("requires_approval", sa.Boolean, nullable=False, server_default="0"),
    )
    op.add_column("rollout", sa.Column("asked_by_id", sa.Integer))
    op.add_column("rollout", sa.Column("asked_by_name", sa.String(128)))
    _allow(WITH_MEMBERS)


def downgrade() -> None:
    # A release from before knows no members: as viewers they would see the whole fleet.
    now = sa.func.coalesce(ACCOUNT.c.disabled_at, sa.func.current_timestamp())
    members = ACCOUNT.update().where(ACCOUNT.c.role == "member")
    op.execute(members.values(role="viewer", disabled_at=now))
    _allow(ROLES)
    op.drop_column("rollout", "asked_by_name")
    op.drop_column("rollout", "asked_by_id")
    op.drop_column("project", "requires_approval")
    op.drop_table("project_grant")


def _allow(roles: str) -> None:
    """The roles that an account may have."""
    if _on_mysql():  # in one statement: half of it could not be taken back
        op.execute(
            "ALTER TABLE account DROP CONSTRAINT ck_account_role, "
            f"ADD CONSTRAINT ck_account_role CHECK ({roles})"
        )
        return
    with op.batch_alter_table("account") as account:
        account.drop_constraint(op.f("ck_account_role"), type_="check")
        account.create_check_constraint(op.f("ck_account_role"), roles)


def _on_mysql() -> bool:
    return op.get_context().dialect.name in ("mysql", "mariadb")
