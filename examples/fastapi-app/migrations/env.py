"""Alembic's environment, in five lines: `alembic` and Headway use it alike."""

import os

from alembic import context
from sqlalchemy import create_engine

with create_engine(os.environ.get("HEADWAY_MIGRATE_URL", "sqlite:///shop.db")).connect() as here:
    context.configure(connection=here)
    with context.begin_transaction():
        context.run_migrations()
