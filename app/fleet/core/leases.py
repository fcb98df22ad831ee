"""Leases: what one process of many does at a time. Whoever dies holds nothing for long."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, insert, or_, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from app.extensions import db
from app.fleet.core.transactions import in_passing, is_contended
from app.models import Lease
from app.models.columns import utc_now
from headway.dialects import dialect_of

SHARE = 0.5
"""How much of its time a lease may lose before its holder puts it off again."""


def hold(name: str, holder: str, seconds: float) -> bool:
    """True if this holder has the lease, for at least half of so many seconds from now.

    Nobody else has it then. False if another has it, or everybody wants it at once. Most calls
    are one short read: it is written when it is taken, and again when half of it is gone.
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
    """Let the next one have it at once. Nothing happens if this holder has it no more."""
    with in_passing() as connection:
        connection.execute(
            update(Lease)
            .where(Lease.name == name, Lease.holder == holder)
            .values(until=clock(connection))
        )


def clock(connection: Connection) -> datetime:
    """What time it is for everybody who uses this catalog: its server's, or this machine's."""
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
