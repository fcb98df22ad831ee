"""Bind the catalog and its migrations to an app, with a guard around every migration."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from flask import Flask, current_app

from app import models  # noqa: F401  # registers the tables that `flask db check` compares
from app.extensions import CatalogAlembic, StepsOf, alembic, db
from app.settings import MIGRATIONS, RELEASE, Settings
from headway import history
from headway.connections.lock import database_lock
from headway.dialects import dialect_of
from headway.dialects.reach import reaching
from headway.errors import CatalogTorn, DatabaseReadOnly
from headway.execution.guard import guarded
from headway.scripts.files import Scripts
from headway.status import status_of
from headway.types import Holder, Position, Progress, Status

log = logging.getLogger(__name__)

Report = Callable[[Progress], None]


@dataclass
class Catalog:
    """What this process knows about its catalog. One per app."""

    settings: Settings
    report: Report
    """Told what a boot is doing, several times a second while it waits."""
    began: float = field(default_factory=time.time)
    """When this process began to bring its catalog to head."""

    @cached_property
    def scripts(self) -> Scripts:
        """This release's revisions."""
        return Scripts.read(MIGRATIONS)

    def wait_for(self, holder: Holder | None) -> None:
        """Report that someone else has the lock."""
        self.tell("waiting_for_lock", holder=holder)

    def tell(self, state: str, **more: object) -> None:
        """Report progress."""
        self.report(Progress(state=state, started=self.began, **more))  # type: ignore[arg-type]


class Narrator:
    """Logs what changes, and what stays the same every ten seconds."""

    def __init__(self) -> None:
        self.last: tuple[object, ...] = ()
        self.at = 0.0

    def tell(self, progress: Progress) -> None:
        """Log it unless the same was just said."""
        now = time.time()
        key = (progress.state, progress.revision, progress.holder and progress.holder.pid)
        if key == self.last and now - self.at < 10:  # noqa: PLR2004
            return
        self.last, self.at = key, now
        if progress.state == "waiting_for_lock":  # Alembic itself tells each upgrade
            log.info("the catalog is being migrated by %s; waiting", progress.holder or "another")
        elif progress.state == "waiting_for_database":
            log.info("the catalog's server does not answer yet; waiting")


def catalog() -> Catalog:
    """The current app's catalog."""
    return current_app.extensions["headway.catalog"]  # type: ignore[no-any-return]


def bind(app: Flask, report: Report | None) -> None:
    """Configure Flask-SQLAlchemy and Flask-Alembic for the catalog."""
    settings: Settings = app.extensions["headway"]
    dialect = dialect_of(settings.database_url)
    app.extensions["headway.catalog"] = Catalog(settings, report or Narrator().tell)
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = _engine_options(settings)
    app.config["ALEMBIC"] = {"script_location": str(MIGRATIONS)}
    app.config["ALEMBIC_CONTEXT"] = {
        "compare_type": True,
        "compare_server_default": True,
        "transactional_ddl": dialect.transactional_ddl or None,
        "include_name": lambda name, kind, _: kind != "table" or name != history.NAME,
    }
    _make_folder(settings)
    db.init_app(app)
    alembic.init_app(app)
    with app.app_context():
        dialect.prepare(db.engine)


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
            f"The folder {path.parent} for the catalog cannot be made ({error.strerror}). Mount a "
            "volume there, or set HEADWAY_DATABASE_URL to another place."
        ) from error


@contextmanager
def guard(flask_alembic: CatalogAlembic, steps_of: StepsOf) -> Iterator[StepsOf]:
    """What every run on the catalog goes through, boot or command: lock, look again, watch."""
    here, me = catalog(), Holder.myself(RELEASE)
    with reaching(db.engine.url):
        context = flask_alembic.migration_context
        connection = context.connection
        assert connection is not None  # noqa: S101  # Flask-Alembic always connects
        wait = here.settings.boot_lock_seconds
        with database_lock(connection, me, wait=wait, waiting=here.wait_for):
            refuse_torn(status_of(connection, here.scripts))

            def on_step(number: int, total: int, name: str) -> None:
                here.tell("migrating", revision=f"{number} of {total}", name=name, holder=me)

            with guarded(
                context, steps_of, scripts=here.scripts, me=me, on_step=on_step
            ) as watched:
                yield watched


def refuse_torn(seen: Status) -> None:
    """Raise CatalogTorn where a revision began and never ended."""
    if seen.position is Position.TORN:
        raise CatalogTorn(
            f"Revision {seen.torn} began and never ended, so the catalog may hold half of it. "
            "Nothing was changed. `flask catalog status` shows what is there; "
            "`flask catalog repair` takes the half back.",
            revision=seen.torn,
        )
