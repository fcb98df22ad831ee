"""Flask-Migrate whose runs go through Headway: `flask db upgrade`, `flask_migrate.upgrade()`."""

from pathlib import Path
from typing import Any

import flask_migrate
from alembic import command as alembic_command
from flask import current_app, has_app_context

from headway.database import Database
from headway.errors import SetupInvalid
from headway.project import Project

RUNS = "headway.flask_migrate"
"""An app's key for the State that its runs go through."""


def project_of(migrate: flask_migrate.Migrate, directory: str | None = None) -> Project:
    """The revisions that an app's Flask-Migrate runs. Needs an app context."""
    if migrate.configure_callbacks:
        raise SetupInvalid(
            "Flask-Migrate's `@migrate.configure` would change options that Headway does not see. "
            "Write them into alembic.ini, or give them to `Migrate(…)`."
        )
    folder = Path(directory or migrate.directory)
    ini = folder / "alembic.ini"
    return Project.load(folder, ini if ini.is_file() else None)


class Commands:
    """`alembic.command` for Flask-Migrate: in an app that Headway is bound to, guarded."""

    def __getattr__(self, name: str) -> Any:
        return getattr(alembic_command, name)

    def upgrade(self, config: Any, revision: str, sql: bool = False, tag: Any = None) -> None:
        """Upgrade; a database without a version is adopted first."""
        if (database := _database(config, tag)) is None or sql:
            return alembic_command.upgrade(config, revision, sql=sql, tag=tag)
        current_app.extensions[RUNS].adopt(database)
        database.upgrade(revision)
        current_app.extensions[RUNS].upgraded()
        return None

    def downgrade(self, config: Any, revision: str, sql: bool = False, tag: Any = None) -> None:
        """Downgrade, as safely."""
        if (database := _database(config, tag)) is None or sql:
            return alembic_command.downgrade(config, revision, sql=sql, tag=tag)
        database.downgrade(revision)
        return None

    def stamp(
        self, config: Any, revision: str, sql: bool = False, tag: Any = None, purge: bool = False
    ) -> None:
        """Stamp under the lock, and tell the history."""
        if (database := _database(config, tag)) is None or sql or purge:
            return alembic_command.stamp(config, revision, sql=sql, tag=tag, purge=purge)
        database.stamp(revision)
        return None


def bind() -> None:
    """Let Flask-Migrate's functions go through Headway, however they were imported.

    They look their commands up when they run. In other apps they do what they did.
    """
    if not isinstance(flask_migrate.command, Commands):
        flask_migrate.command = Commands()


def _database(config: Any, tag: Any) -> Database | None:
    """The database that is meant; None if this is for Alembic itself."""
    if not has_app_context() or RUNS not in current_app.extensions or tag:
        return None
    migrate = current_app.extensions["migrate"].migrate
    project = project_of(migrate, config.get_main_option("script_location"))
    given = getattr(config.cmd_opts, "x", None) or []
    pairs = (text.partition("=") for text in given)
    found: Database = current_app.extensions[RUNS].for_run(
        project, {name: value for name, _, value in pairs}
    )
    return found
