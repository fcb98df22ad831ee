"""Whether a purchase is paid."""

import sqlalchemy as sa
from alembic import op

revision = "s0002"
down_revision = "s0001"


def upgrade() -> None:
    op.add_column("purchase", sa.Column("paid", sa.Integer, nullable=False, server_default="0"))
    op.create_index("ix_purchase_paid", "purchase", ["paid"])


def downgrade() -> None:
    op.drop_index("ix_purchase_paid", "purchase")
    with op.batch_alter_table("purchase") as purchase:
        purchase.drop_column("paid")
