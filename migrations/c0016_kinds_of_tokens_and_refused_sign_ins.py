"""Tokens have a kind and a scope; refused sign-ins are counted

A session is told by its event of a sign-in, because a person may name a token of a program
"browser" too.

Revision ID: c0016
Revises: c0015
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "c0016"
down_revision = "c0015"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True).with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")
UTF8: dict[str, Any] = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}
# MariaDB would take é for e and A for a; the others do not.
EXACT = sa.String(64).with_variant(
    mysql.VARCHAR(64, charset="utf8mb4", collation="utf8mb4_bin"), "mysql", "mariadb"
)
COLUMNS = ("kind", "scope", "proven_at")

TOKEN = sa.table(
    "token",
    *(sa.column(name) for name in ("id", "name", "kind", "scope")),
    sa.column("one_time", sa.Boolean),
    sa.column("expires_at", TIME),
    sa.column("revoked_at", TIME),
)
EVENT = sa.table("event", *map(sa.column, ("subject_type", "subject_id", "action")))


def upgrade() -> None:
    # The default is what can do least: a release from before, which runs on beside this one, does
    # not say which kind it makes. It is the kind of nearly all rows too, which need no writing.
    op.add_column(
        "token", sa.Column("kind", sa.String(16), nullable=False, server_default="session")
    )
    op.add_column("token", sa.Column("scope", sa.String(16)))
    op.add_column("token", sa.Column("proven_at", TIME))
    op.create_table(
        "sign_in_limit",
        sa.Column("key", EXACT, nullable=False),
        sa.Column("refused", sa.Integer, nullable=False),
        sa.Column("last_at", TIME, nullable=False),
        sa.Column("passed_at", TIME),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_sign_in_limit")),
        **UTF8,
    )
    op.create_index("ix_sign_in_limit_last_at", "sign_in_limit", ["last_at"])
    signed_in = sa.exists().where(
        EVENT.c.subject_type == "token",
        EVENT.c.subject_id == TOKEN.c.id,
        EVENT.c.action == "token.signed_in",
    )
    # Of a million sessions nearly all have ended: the trail is not asked about those.
    now = sa.func.current_timestamp()
    expired = sa.and_(TOKEN.c.expires_at.is_not(None), TOKEN.c.expires_at < now)
    ended = sa.or_(TOKEN.c.revoked_at.is_not(None), expired)
    is_session = sa.and_(TOKEN.c.name == "browser", sa.or_(ended, signed_in))
    others = TOKEN.update().where(sa.or_(TOKEN.c.one_time, ~is_session))
    op.execute(others.values(kind=sa.case((TOKEN.c.one_time, "invitation"), else_="api")))


def downgrade() -> None:
    # A release from before does not know scopes: it would give these tokens all rights.
    narrowed = sa.and_(TOKEN.c.scope.is_not(None), TOKEN.c.revoked_at.is_(None))
    op.execute(TOKEN.update().where(narrowed).values(revoked_at=sa.func.current_timestamp()))
    op.drop_table("sign_in_limit")
    for name in reversed(COLUMNS):
        op.drop_column("token", name)
