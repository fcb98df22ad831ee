"""Headway beside plain Alembic, each in a process of its own: the same databases, or a refusal."""
