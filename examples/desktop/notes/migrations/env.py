"""What `flask migrate revise` compares with, and how it writes for SQLite. Nothing connects."""

from alembic import context

from notes.models import Base

context.configure(target_metadata=Base.metadata, render_as_batch=True)
context.run_migrations()
