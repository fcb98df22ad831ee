"""prices"""

import sqlalchemy as sa
from alembic import op

revision = "f0002"
down_revision = "f0001"


def upgrade() -> None:
    op.add_column("item", sa.Column("price", sa.Integer))


def downgrade() -> None:
    with op.batch_alter_table("item") as item:
        item.drop_column("price")
