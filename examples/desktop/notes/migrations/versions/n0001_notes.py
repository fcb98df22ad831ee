"""Notes, with their tags in one line."""

import sqlalchemy as sa
from alembic import op

revision = "n0001"
down_revision = None


def upgrade() -> None:
    # SQLite keeps this number in the file's header: it says whose file it is.
    op.execute("PRAGMA application_id = 0x4E4F5445")
    op.create_table(
        "note",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("text", sa.String, nullable=False),
        sa.Column("tags", sa.String, nullable=False, server_default=""),
    )
