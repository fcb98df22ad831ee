"""Each price has a currency."""

import sqlalchemy as sa
from alembic import op

revision = "s0002"
down_revision = "s0001"


def upgrade() -> None:
    op.add_column("plan", sa.Column("currency", sa.String(3), nullable=False, server_default="EUR"))


def downgrade() -> None:
    op.drop_column("plan", "currency")
