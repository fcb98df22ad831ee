"""An e-mail address belongs to one account

Addresses are trimmed and lower-cased. Where several accounts share one, the oldest keeps it and
the others lose it; what they lost is written to the audit trail, so nothing is forgotten.

Revision ID: c0009
Revises: c0008
"""

import sqlalchemy as sa
from alembic import op

revision = "c0009"
down_revision = "c0008"
branch_labels = None
depends_on = None

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
    op.execute("UPDATE account SET email = NULLIF(LOWER(TRIM(email)), '')")
    bind = op.get_bind()
    owners: set[str] = set()
    for account_id, email in bind.execute(
        sa.select(ACCOUNT.c.id, ACCOUNT.c.email)
        .where(ACCOUNT.c.email.in_(_shared()))
        .order_by(ACCOUNT.c.id)
    ).all():
        if email not in owners:
            owners.add(email)
            continue
        bind.execute(ACCOUNT.update().where(ACCOUNT.c.id == account_id).values(email=None))
        bind.execute(
            EVENT.insert().values(
                actor_name="revision c0009",
                action="account.email_cleared",
                subject_type="account",
                subject_id=account_id,
                detail={"email": email, "reason": "another account has this address"},
            )
        )
    op.create_index("uq_account_email", "account", ["email"], unique=True)
    op.create_index("ix_account_name", "account", ["name"])


def downgrade() -> None:
    op.drop_index("ix_account_name", "account")
    op.drop_index("uq_account_email", "account")


def _shared() -> sa.Select[tuple[str]]:
    return (
        sa.select(ACCOUNT.c.email)
        .where(ACCOUNT.c.email.is_not(None))
        .group_by(ACCOUNT.c.email)
        .having(sa.func.count() > 1)
    )
