"""A purchase is paid, or not yet."""

import sqlalchemy as sa
from alembic import op

revision = "t0002"
down_revision = "t0001"


def upgrade() -> None:
    op.add_column("purchase", sa.Column("paid", sa.Boolean, nullable=False, server_default="false"))
    op.create_index("ix_purchase_customer", "purchase", ["customer_id"])


def downgrade() -> None:
    op.drop_index("ix_purchase_customer", "purchase")
    op.drop_column("purchase", "paid")
