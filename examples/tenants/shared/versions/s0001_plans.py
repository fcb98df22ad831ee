"""What can be bought: the same for all tenants."""

import sqlalchemy as sa
from alembic import op

revision = "s0001"
down_revision = None


def upgrade() -> None:
    plan = op.create_table(
        "plan",
        sa.Column("name", sa.String(20), primary_key=True),
        sa.Column("cents", sa.Integer, nullable=False),
    )
    op.bulk_insert(plan, [{"name": "free", "cents": 0}, {"name": "gold", "cents": 4900}])


def downgrade() -> None:
    op.drop_table("plan")
