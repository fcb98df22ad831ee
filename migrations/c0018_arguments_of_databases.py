"""Databases have -x arguments of their own, and runs keep those that they ran with

Revision ID: c0018
Revises: c0017
"""

import re
from collections.abc import Callable

import sqlalchemy as sa
from alembic import op

revision = "c0018"
down_revision = "c0017"
branch_labels = None
depends_on = None

PROJECT = sa.table("project", sa.column("id", sa.Integer), sa.column("x", sa.JSON))
WORD = r"[A-Za-z_][A-Za-z0-9._/-]*"


def upgrade() -> None:
    op.add_column("database", sa.Column("x", sa.JSON))
    op.add_column("run", sa.Column("x", sa.JSON))
    # What was text so far would be a placeholder from now on.
    _rewrite(lambda value: re.sub(rf"\{{({WORD})\}}", r"{{\1}}", value))


def downgrade() -> None:
    op.drop_column("run", "x")
    op.drop_column("database", "x")
    # Last, in one transaction with the version: done twice it would take off two braces.
    _rewrite(lambda value: re.sub(rf"\{{\{{({WORD})\}}\}}", r"{\1}", value))


def _rewrite(change: Callable[[str], str]) -> None:
    """Change the values of all projects' arguments."""
    connection = op.get_bind()
    for key, x in connection.execute(sa.select(PROJECT.c.id, PROJECT.c.x)).all():
        changed = {name: change(value) for name, value in (x or {}).items()}
        if changed != (x or {}):
            connection.execute(PROJECT.update().where(PROJECT.c.id == key).values(x=changed))
