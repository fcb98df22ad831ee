"""Adopt a catalog that something else made: tables, but no version."""

import logging

from alembic.runtime.migration import MigrationContext

from app.boot.bind import catalog
from app.extensions import alembic, db
from app.settings import MIGRATIONS, RELEASE
from headway import history
from headway.connections.address import Address
from headway.connections.lock import database_lock
from headway.errors import CatalogUnstamped
from headway.schema.drift import Comparison
from headway.scripts.project import ScriptProject
from headway.status import status_of
from headway.types import Holder, Position

log = logging.getLogger(__name__)


def adopt() -> None:
    """Stamp an unversioned catalog with the revision whose schema it has; others are left alone.

    Raises CatalogUnstamped, naming the closest revision and each difference, if its schema is
    no revision's.
    """
    here, me = catalog(), Holder.myself(RELEASE)
    wait = here.settings.boot_lock_seconds
    with db.engine.connect() as connection:
        if status_of(connection, here.scripts).position is not Position.UNSTAMPED:
            return
        with database_lock(connection, me, wait=wait, waiting=here.wait_for):
            if status_of(connection, here.scripts).position is not Position.UNSTAMPED:
                return
            comparison = Comparison(
                project=ScriptProject.load(MIGRATIONS), address=Address.of(db.engine), x={}
            )
            match = comparison.closest(connection)
            if match.differences:
                raise CatalogUnstamped(
                    "The database has tables but no version. Its schema is closest to revision "
                    f"{match.revision}, except: {', '.join(match.differences)}. Nothing was "
                    "changed. Mend that and start again, or, if you know better, run "
                    f"`flask db stamp {match.revision}`.",
                    revision=match.revision,
                    differences=match.differences,
                )
            with connection.execution_options(write=True).begin():
                context = MigrationContext.configure(connection)
                context.stamp(alembic.script_directory, match.revision)
                history.ensure(connection)
                script = here.scripts.by_id[match.revision]
                history.add(
                    connection,
                    revision=match.revision,
                    action="adopt",
                    outcome="succeeded",
                    by=me,
                    duration_ms=0,
                    checksum=script.checksum,
                )
    log.info("the catalog has the schema of revision %s: adopted", match.revision)
