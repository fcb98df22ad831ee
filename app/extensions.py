"""The Flask extensions, unbound. `create_app` binds them."""

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase

from headway.flask import Alembic, Headway


class Base(DeclarativeBase):
    """Base class of all models of the catalog.

    Constraint names follow one rule, so that a later revision can refer to them on every database.
    """

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class CatalogAlembic(Alembic):
    """Flask-Alembic whose revisions are numbered."""

    def rev_id(self) -> str:
        """The next free number: two branches that both add one collide in review.

        With a letter, because `flask db downgrade 0003` would mean "three down".
        """
        taken = {script.revision for script in self.script_directory.walk_revisions()}
        return next(f"c{n:04}" for n in range(1, 10_000) if f"c{n:04}" not in taken)


db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})
alembic = CatalogAlembic(run_mkdir=False)
headway = Headway()
