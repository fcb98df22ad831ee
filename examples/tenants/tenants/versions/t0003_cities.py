"""Cities in a table of their own, filled from those of the customers."""

import sqlalchemy as sa
from alembic import op

revision = "t0003"
down_revision = "t0002"


def upgrade() -> None:
    op.create_table(
        "city",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(100), nullable=False, unique=True),
    )
    op.execute("INSERT INTO city (name) SELECT DISTINCT city FROM customer ORDER BY city")


def downgrade() -> None:
    op.drop_table("city")
