"""ip_source holds IPv6 addresses (45 characters with an embedded IPv4 address)

Revision ID: c0003
Revises: c0002
"""

import sqlalchemy as sa
from alembic import op

revision = "c0003"
down_revision = "c0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("account") as account:
        account.alter_column("ip_source", existing_type=sa.String(16), type_=sa.String(45))


def downgrade() -> None:
    # Half an address is no address: one that no longer fits is forgotten, not cut.
    op.execute("UPDATE account SET ip_source = NULL WHERE length(ip_source) > 16")
    with op.batch_alter_table("account") as account:
        account.alter_column("ip_source", existing_type=sa.String(45), type_=sa.String(16))
