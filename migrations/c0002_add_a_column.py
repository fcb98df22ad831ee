"""Add a column

Revision ID: c0002
Revises: c0001
"""

import sqlalchemy as sa
from alembic import op

revision = "c0002"
down_revision = "c0001"
branch_labels = None
depends_on = None

COLUMNS = ("birthdate", "email", "ip_source", "location")


def upgrade() -> None:
    op.add_column("account", sa.Column("birthdate", sa.DateTime))
    op.add_column("account", sa.Column("email", sa.String(128)))
    op.add_column("account", sa.Column("ip_source", sa.String(16)))
    op.add_column("account", sa.Column("location", sa.String(128)))


def downgrade() -> None:
    with op.batch_alter_table("account") as account:
        for column in COLUMNS:
            account.drop_column(column)
