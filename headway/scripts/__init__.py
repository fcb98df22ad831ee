"""An Alembic script directory: its files, its options, its env.py."""
