"""Accounts have a role and count their changes

Revision ID: c0006
Revises: c0005
"""

import sqlalchemy as sa
from alembic import op

revision = "c0006"
down_revision = "c0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("account") as account:
        account.add_column(
            sa.Column("role", sa.String(16), nullable=False, server_default="viewer")
        )
        account.add_column(sa.Column("version", sa.Integer, nullable=False, server_default="1"))
        account.create_check_constraint(
            op.f("ck_account_role"), "role IN ('viewer', 'operator', 'admin')"
        )


def downgrade() -> None:
    with op.batch_alter_table("account") as account:
        account.drop_constraint(op.f("ck_account_role"), type_="check")
        account.drop_column("version")
        account.drop_column("role")
