"""An e-mail address belongs to one account

Addresses are trimmed and lower-cased. Where several accounts share one, the oldest keeps it and
the others lose it; what they lost is written to the audit trail, so nothing is forgotten.

Revision ID: c0009
Revises: c0008
"""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0009"
down_revision = "c0008"
branch_labels = None
depends_on = None

# MariaDB would take é for e; the others do not.
EXACT = mysql.VARCHAR(128, charset="utf8mb4", collation="utf8mb4_bin")

ACCOUNT = sa.table("account", sa.column("id", sa.Integer), sa.column("email", sa.String))
EVENT = sa.table(
    "event",
    sa.column("actor_name", sa.String),
    sa.column("action", sa.String),
    sa.column("subject_type", sa.String),
    sa.column("subject_id", sa.Integer),
    sa.column("detail", sa.JSON),
)


def upgrade() -> None:
    bind = op.get_bind()
    for account_id, email, owned in list(_addresses(bind)):
        if email != owned:
            where = ACCOUNT.c.id == account_id
            bind.execute(ACCOUNT.update().where(where).values(email=owned))
        if email.strip() and not owned:
            bind.execute(EVENT.insert().values(_cleared(account_id, email)))
    if _on_mysql():
        op.alter_column("account", "email", existing_type=sa.String(128), type_=EXACT)
    op.create_index("uq_account_email", "account", ["email"], unique=True)
    op.create_index("ix_account_name", "account", ["name"])


def downgrade() -> None:
    op.drop_index("ix_account_name", "account")
    op.drop_index("uq_account_email", "account")
    if _on_mysql():
        op.execute("ALTER TABLE account MODIFY email VARCHAR(128) NULL")


def _addresses(bind: sa.Connection) -> Iterator[tuple[int, str, str | None]]:
    """Each account that has an address: its id, the address as it is, and what it keeps of it.

    Lower-cased here as the service does, because SQLite only knows A to Z.
    """
    taken: set[str] = set()
    query = sa.select(ACCOUNT).where(ACCOUNT.c.email.is_not(None)).order_by(ACCOUNT.c.id)
    for account_id, email in bind.execute(query).all():
        address = email.strip().lower()
        yield account_id, email, None if address in taken else address or None
        taken.add(address)


def _cleared(account_id: int, email: str) -> dict[str, object]:
    return {
        "actor_name": "revision c0009",
        "action": "account.email_cleared",
        "subject_type": "account",
        "subject_id": account_id,
        "detail": {
            "email": email.strip().lower(),
            "reason": "another account has this address",
        },
    }


def _on_mysql() -> bool:
    return op.get_context().dialect.name in ("mysql", "mariadb")
