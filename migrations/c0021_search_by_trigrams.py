"""A search by a part of a name or address goes along an index, where the server has one

Revision ID: c0021
Revises: c0020
"""

import logging

import sqlalchemy as sa
from alembic import op

revision = "c0021"
down_revision = "c0020"
branch_labels = None
depends_on = None

log = logging.getLogger("alembic.runtime.migration")

INDEX = "ix_database_sought"
CLASS = """
SELECT quote_ident(n.nspname) || '.' || quote_ident(c.opcname)
FROM pg_opclass c JOIN pg_namespace n ON n.oid = c.opcnamespace
WHERE c.opcname = 'gin_trgm_ops' AND has_schema_privilege(n.oid, 'USAGE')
"""

# `sought` is in small letters already, and LIKE compares all but a to z exactly: so does this.
# Without the lengths of the texts, which only a ranking would need.
TABLE = """
CREATE VIRTUAL TABLE database_search USING fts5(
    sought, content='database', content_rowid='id', columnsize=0,
    tokenize='trigram case_sensitive 1'
)
"""
ADD = "INSERT INTO database_search (rowid, sought) VALUES (new.id, new.sought);"
TAKE = (
    "INSERT INTO database_search (database_search, rowid, sought) "
    "VALUES ('delete', old.id, old.sought);"
)
TRIGGERS = {
    "database_search_insert": f"AFTER INSERT ON database BEGIN {ADD} END",
    "database_search_delete": f"AFTER DELETE ON database BEGIN {TAKE} END",
    # Not after others: where a database stands changes all the time.
    "database_search_update": (
        f"AFTER UPDATE OF id, name, address ON database BEGIN {TAKE} {ADD} END"
    ),
}


def upgrade() -> None:
    backend = op.get_context().dialect.name
    if backend == "postgresql":
        _try("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        # It may be there already, in a schema that is in nobody's search_path.
        if trigrams := op.get_bind().exec_driver_sql(CLASS).scalars().first():
            op.execute(f"CREATE INDEX {INDEX} ON database USING gin (sought {trigrams})")
    elif backend == "sqlite" and _try(TABLE):
        op.execute("INSERT INTO database_search (database_search) VALUES ('rebuild')")
        for name, what in TRIGGERS.items():
            op.execute(f"CREATE TRIGGER {name} {what}")


def downgrade() -> None:
    backend = op.get_context().dialect.name
    if backend == "postgresql":
        op.execute(f"DROP INDEX IF EXISTS {INDEX}")  # the extension stays: others may use it
    elif backend == "sqlite":
        for name in TRIGGERS:
            op.execute(f"DROP TRIGGER IF EXISTS {name}")
        op.execute("DROP TABLE IF EXISTS database_search")


def _try(statement: str) -> bool:
    """False where the server has not what it needs, or does not allow it: all goes on without."""
    connection = op.get_bind()
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement)
    except sa.exc.DBAPIError as error:
        if error.connection_invalidated:
            raise
        why = str(error.orig).partition("\n")[0]
        log.warning("no index of trigrams: a search by a part of a name reads all names (%s)", why)
        return False
    return True
