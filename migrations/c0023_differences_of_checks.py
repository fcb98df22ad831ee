"""How many differences each check found, and what goes with their removal

Revision ID: c0023
Revises: c0022
"""

import sqlalchemy as sa
from alembic import op

revision = "c0023"
down_revision = "c0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("run", sa.Column("differences", sa.Integer))
    op.add_column("difference", sa.Column("row_count", sa.Integer))
    op.add_column(
        "run_tally", sa.Column("differing", sa.Integer, nullable=False, server_default="0")
    )


def downgrade() -> None:
    op.drop_column("run_tally", "differing")
    op.drop_column("difference", "row_count")
    op.drop_column("run", "differences")
