"""Errors of the catalog's driver and its pool, as the errors that people are shown."""

import logging

from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app import boot
from app.errors import CatalogBusy
from app.extensions import db
from app.fleet.core.transactions import is_contended
from headway.dialects import dialect_of
from headway.errors import DatabaseUnreachable, HeadwayError

log = logging.getLogger(__name__)

CatalogError = DBAPIError | PoolTimeout


def meaning_of(error: CatalogError) -> HeadwayError | None:
    """The catalog is busy, does not answer, or is behind this release; None for a bug."""
    if isinstance(error, PoolTimeout):
        return CatalogBusy("All connections to the catalog are in use. Try again in a moment.")
    if is_contended(error):
        return CatalogBusy("Another request uses the same data. Try again in a moment.")
    if error.connection_invalidated or dialect_of(db.engine).refusal(error):
        log.error("the catalog cannot be used: %s", error.orig)
        return DatabaseUnreachable("The catalog does not answer. Try again in a moment.")
    return boot.behind()
