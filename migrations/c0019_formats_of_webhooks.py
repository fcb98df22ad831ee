"""Webhooks have a format

Revision ID: c0019
Revises: c0018
"""

import sqlalchemy as sa
from alembic import op

revision = "c0019"
down_revision = "c0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Those that are there go on receiving what they receive.
    op.add_column(
        "webhook", sa.Column("format", sa.String(16), nullable=False, server_default="json")
    )


def downgrade() -> None:
    op.drop_column("webhook", "format")
