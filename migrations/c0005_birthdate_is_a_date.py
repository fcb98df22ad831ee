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

Type = sa.types.TypeEngine[Any]


def upgrade() -> None:
    _change(sa.DateTime(), sa.Date(), sqlite="substr(birthdate, 1, 10)")


def downgrade() -> None:
    _change(sa.Date(), sa.DateTime(), sqlite="birthdate || ' 00:00:00.000000'")


def _change(old: Type, new: Type, *, sqlite: str) -> None:
    def as_it_will_be(_inspector: object, _table: object, column: dict[str, Any]) -> None:
        # Else the rebuild writes CAST(birthdate AS DATE), which SQLite takes for a number: 1815.
        if column["name"] == "birthdate":
            column["type"] = new

    if op.get_context().dialect.name == "sqlite":
        op.execute(f"UPDATE account SET birthdate = {sqlite}")  # noqa: S608
    listeners = {"listeners": [("column_reflect", as_it_will_be)]}
    with op.batch_alter_table("account", reflect_kwargs=listeners) as account:
        account.alter_column("birthdate", existing_type=old, type_=new)
