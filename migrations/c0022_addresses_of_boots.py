"""Boots say where people find the service

Revision ID: c0022
Revises: c0021
"""

import sqlalchemy as sa
from alembic import op

revision = "c0022"
down_revision = "c0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("boot", sa.Column("address", sa.String(255)))


def downgrade() -> None:
    op.drop_column("boot", "address")
