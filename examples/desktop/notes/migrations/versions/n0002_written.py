"""When a note was written."""

import sqlalchemy as sa
from alembic import op

revision = "n0002"
down_revision = "n0001"


def upgrade() -> None:
    op.add_column("note", sa.Column("written", sa.DateTime))
