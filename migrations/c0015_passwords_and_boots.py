"""Accounts have passwords and a provider and can be disabled; boots are remembered

The audit trail is read by who did it, what was done, and to what.

Revision ID: c0015
Revises: c0014
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0015"
down_revision = "c0014"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
UTF8: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}
# MariaDB would take é for e and A for a; the others do not.
EXACT = sa.String(255).with_variant(
    mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
)
TRAIL = ("actor_id", "action", "subject_type")
COLUMNS: dict[str, sa.types.TypeEngine[Any]] = {
    "password_hash": EXACT,
    "password_set_at": TIME,
    "oidc_issuer": EXACT,
    "oidc_subject": EXACT,
    "disabled_at": TIME,
}

ACCOUNT = sa.table("account", sa.column("id", sa.Integer), sa.column("disabled_at", TIME))
TOKEN = sa.table("token", sa.column("account_id", sa.Integer), sa.column("revoked_at", TIME))


def upgrade() -> None:
    on_mysql = op.get_context().dialect.name in ("mysql", "mariadb")
    now = sa.text("CURRENT_TIMESTAMP(6)" if on_mysql else "CURRENT_TIMESTAMP")
    for name, kind in COLUMNS.items():
        op.add_column("account", sa.Column(name, kind))
    op.create_index(
        "uq_account_oidc_issuer_oidc_subject",
        "account",
        ["oidc_issuer", "oidc_subject"],
        unique=True,
    )
    op.create_table(
        "boot",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("at", TIME, nullable=False, server_default=now),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("release", sa.String(64), nullable=False),
        sa.Column("revision_from", EXACT, nullable=False),
        sa.Column("revision_to", EXACT, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_boot")),
        **UTF8,
    )
    for name in TRAIL:
        op.create_index(f"ix_event_{name}", "event", [name, "id"])


def downgrade() -> None:
    # A release from before does not know that an account is disabled: it must not let it in.
    disabled = sa.select(ACCOUNT.c.id).where(ACCOUNT.c.disabled_at.is_not(None))
    theirs = TOKEN.c.account_id.in_(disabled) & TOKEN.c.revoked_at.is_(None)
    op.execute(TOKEN.update().where(theirs).values(revoked_at=sa.func.current_timestamp()))
    for name in reversed(TRAIL):
        op.drop_index(f"ix_event_{name}", "event")
    op.drop_table("boot")
    op.drop_index("uq_account_oidc_issuer_oidc_subject", "account")
    for name in reversed(COLUMNS):
        op.drop_column("account", name)
