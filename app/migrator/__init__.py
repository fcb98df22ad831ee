"""ONE database. SQLAlchemy and Alembic only: no Flask, no models. Usable from any program."""
