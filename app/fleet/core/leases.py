"""Leases let one process of many do a task. A lease expires, so a crashed holder does not block."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, insert, or_, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.extensions import db
from app.fleet.core.transactions import in_passing, is_contended
from app.models import Lease
from app.models.columns import utc_now
from headway.dialects import dialect_of

SHARE = 0.5
"""Share of its time that a lease may lose before its holder renews it."""


def hold(name: str, holder: str, seconds: float) -> bool:
    """True if this holder has the lease, for at least half of `seconds` from now.

    False if another holder has it, or too many try at once. Most calls are one short read: the
    lease is written when it is taken, and again when half of its time is over.
    """
    with db.engine.connect() as connection:
        held = connection.execute(select(Lease.holder, Lease.until).where(Lease.name == name))
        lease, now = held.first(), clock(connection)
    if lease and lease.until > now:
        if lease.holder != holder:
            return False
        if lease.until - now > timedelta(seconds=seconds * SHARE):
            return True
    try:
        with in_passing() as connection:
            return _take(connection, name, holder, seconds)
    except IntegrityError:  # another was the first of all
        return False
    except DBAPIError as error:
        if is_contended(error):
            return False
        raise


def give_back(name: str, holder: str) -> None:
    """Release a lease, so that another holder can take it at once. Idempotent."""
    with in_passing() as connection:
        connection.execute(
            update(Lease)
            .where(Lease.name == name, Lease.holder == holder)
            .values(until=clock(connection))
        )


def clock(connection: Connection) -> datetime:
    """The clock shared by all users of the catalog: the server's; for SQLite, this machine's."""
    if dialect_of(connection).name == "sqlite":  # whose own clock has no fractions
        return datetime.now(UTC)
    now: datetime = connection.execute(select(utc_now())).scalar_one()
    return now


def _take(connection: Connection, name: str, holder: str, seconds: float) -> bool:
    now = clock(connection)
    values = {"holder": holder, "until": now + timedelta(seconds=seconds)}
    free = or_(Lease.holder == holder, Lease.until <= now)
    taken = connection.execute(update(Lease).where(Lease.name == name, free).values(**values))
    if taken.rowcount:
        return True
    if connection.scalar(select(Lease.name).where(Lease.name == name)) is not None:
        return False
    connection.execute(insert(Lease).values(name=name, **values))
    return True
