"""birthdate is a date: nobody is born at midnight UTC

Revision ID: c0005
Revises: c0004
"""

import sqlalchemy as sa
from alembic import op

revision = "c0005"
down_revision = "c0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("account") as account:
        account.alter_column("birthdate", existing_type=sa.DateTime(), type_=sa.Date())
    if op.get_context().dialect.name == "sqlite":  # types are names there, values stay as they are
        op.execute("UPDATE account SET birthdate = substr(birthdate, 1, 10)")


def downgrade() -> None:
    with op.batch_alter_table("account") as account:
        account.alter_column("birthdate", existing_type=sa.Date(), type_=sa.DateTime())
    if op.get_context().dialect.name == "sqlite":
        op.execute("UPDATE account SET birthdate = birthdate || ' 00:00:00.000000'")
