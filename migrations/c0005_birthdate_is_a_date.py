"""birthdate is a date: nobody is born at midnight UTC

Revision ID: c0005
Revises: c0004
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "c0005"
down_revision = "c0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _change(sa.DateTime(), sa.Date(), sqlite="substr(birthdate, 1, 10)")


def downgrade() -> None:
    _change(sa.Date(), sa.DateTime(), sqlite="birthdate || ' 00:00:00.000000'")


def _change(old: sa.types.TypeEngine[Any], new: sa.types.TypeEngine[Any], *, sqlite: str) -> None:
    if op.get_context().dialect.name != "sqlite":
        op.alter_column("account", "birthdate", existing_type=old, type_=new)
        return
    # A batch rebuild would write CAST(birthdate AS DATE), which SQLite takes for a number: 1815.
    op.add_column("account", sa.Column("changed", new))
    op.execute(f"UPDATE account SET changed = {sqlite}")  # noqa: S608
    with op.batch_alter_table("account") as account:
        account.drop_column("birthdate")
    with op.batch_alter_table("account") as account:
        account.alter_column("changed", new_column_name="birthdate", existing_type=new)
