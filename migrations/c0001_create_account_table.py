"""Create account table

Revision ID: c0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "c0001"
down_revision = None
branch_labels = ("default",)  # where `flask db revision` goes on; without it, it starts anew
depends_on = None

# A server may still make tables in latin1, where a name like Σοφία has no place.
UTF8: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}


def upgrade() -> None:
    op.create_table(
        "account",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("description", sa.Unicode(200)),
        sa.Column("created", sa.DateTime),
        sa.Column("updated", sa.DateTime),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        **UTF8,
    )


def downgrade() -> None:
    op.drop_table("account")
