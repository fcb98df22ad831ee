"""The service's own database, for all that uses it. What migrates it is `app.boot`.

Alembic is not imported here: a command of the fleet does without it, and so starts sooner.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from flask import Flask

from app import errors
from app.extensions import db
from app.settings import MIGRATIONS, Settings
from headway.boot import Words
from headway.boot import readiness as probes
from headway.connections.address import Address
from headway.connections.session import Policy
from headway.dialects import dialect_of
from headway.errors import (
    DatabaseAhead,
    DatabaseBehind,
    DatabaseForeign,
    DatabaseReadOnly,
    DatabaseTorn,
    DatabaseUnstamped,
)
from headway.scripts.environment import Environment, Mode
from headway.scripts.files import Scripts

WORDS = Words(
    subject="the catalog",
    commands={
        **{name: f"flask catalog {name}" for name in ("repair", "status")},
        **{name: f"flask db {name}" for name in ("downgrade", "merge", "stamp", "upgrade")},
    },
    settings={
        "migrate": "HEADWAY_MIGRATE_ON_BOOT",
        "on_newer": "HEADWAY_ON_NEWER_CATALOG",
        "url": "HEADWAY_DATABASE_URL",
        "wait": "HEADWAY_BOOT_WAIT_SECONDS",
    },
    errors={
        DatabaseAhead: errors.CatalogAhead,
        DatabaseBehind: errors.CatalogBehind,
        DatabaseForeign: errors.CatalogForeign,
        DatabaseTorn: errors.CatalogTorn,
        DatabaseUnstamped: errors.CatalogUnstamped,
    },
)


class Revisions:
    """The catalog's revisions, as files."""

    @cached_property
    def scripts(self) -> Scripts:
        """Read without importing them."""
        return Scripts.read(MIGRATIONS)

    def environment_of(self, *_: Address | Mapping[str, str]) -> Environment:
        """They have no env.py: Flask-Alembic runs none."""
        return Environment(mode=Mode.NONE, why="Flask-Alembic has the options of the app")


@dataclass(frozen=True)
class Catalog:
    """The catalog, as far as it is asked where it stands."""

    address: Address
    project: Revisions = field(default_factory=Revisions)
    x: Mapping[str, str] = field(default_factory=dict)
    policy: Policy = field(default_factory=lambda: Policy(sole=True, words=WORDS))


def init_app(app: Flask) -> None:
    """Bind the catalog to an app. Opens nothing."""
    settings: Settings = app.extensions["headway"]
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = _engine_options(settings)
    _make_folder(settings)
    db.init_app(app)
    with app.app_context():
        dialect_of(settings.database_url).prepare(db.engine)


def require_head() -> None:
    """Raise CatalogBehind unless the catalog is at this release's head or newer.

    What every command calls that reads or writes the catalog: a command never migrates.
    """
    upgrade = WORDS.command("upgrade")
    probes.require_head(
        Catalog(Address.of(db.engine)), advice=f"Start the service, or run `{upgrade}`."
    )


def _engine_options(settings: Settings) -> dict[str, object]:
    # An error must not show what a statement was to write: it may be a secret, not yet encrypted.
    options: dict[str, object] = {"hide_parameters": True}
    if settings.database_url.dialect == "sqlite":
        return options
    # A host that swallows packets must not hold a start for minutes.
    arguments: dict[str, object] = {"connect_timeout": 5}
    if settings.database_url.dialect == "postgresql":
        # Nor a worker that is connected: it would not notice for hours that its server is gone.
        arguments |= {"keepalives_idle": 15, "keepalives_interval": 5, "keepalives_count": 3}
        arguments["tcp_user_timeout"] = 30_000
    if settings.database_url.dialect == "mysql":
        arguments["init_command"] = "SET time_zone = '+00:00'"  # the catalog's times are UTC
    else:
        # A plan that was prepared while a table was empty reads all of it when it is full:
        # an import of 100,000 databases took ten times as long.
        arguments["prepare_threshold"] = None
    return options | {"pool_pre_ping": True, "connect_args": arguments}


def _make_folder(settings: Settings) -> None:
    if (path := settings.sqlite_path) is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseReadOnly(
            f"The folder {path.parent} for the catalog cannot be created ({error.strerror}). Mount "
            "a volume there, or set HEADWAY_DATABASE_URL to another place."
        ) from error
