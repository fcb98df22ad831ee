"""Refused sign-ins make the next ones wait, in all processes alike; nobody is locked out.

A password is counted for the account from its network (an IPv4 address, or the /64 of an IPv6
address), for the network, and for the account. From a network where the account has signed in
lately the first alone counts, so that others cannot keep its owner out. Nothing sleeps: who comes
too early is refused before any work is done, and told how long to wait.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil

from sqlalchemy import Connection, Update, delete, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from app.errors import TooManyAttempts
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession, in_passing, repeated, writing
from app.models import Role, SignInLimit

FORGOTTEN = timedelta(hours=1)
"""So long after the last refusal, the count begins anew."""
KNOWN = timedelta(days=30)
"""So long a network is known after a sign-in."""


@dataclass(frozen=True)
class Limit:
    """So many refusals cost nothing. After each further one, twice the wait, up to the longest."""

    free: int
    longest: timedelta

    def wait(self, refused: int, last_at: datetime, now: datetime) -> float:
        """Seconds until the next try."""
        if refused < self.free or now - last_at >= FORGOTTEN:
            return 0
        pause = min(2.0 ** min(refused - self.free, 30), self.longest.total_seconds())
        return pause - (now - last_at).total_seconds()


PAIR = Limit(5, timedelta(minutes=5))
ACCOUNT = Limit(50, timedelta(minutes=1))
NETWORK = Limit(100, timedelta(minutes=1))

Keys = dict[str, Limit]
Session = CatalogSession | Connection


def attempt(email: str, ip: str | None) -> tuple[str, ...]:
    """Count a try of a password as refused. Returns what `passed` takes if it was right.

    Counted first, so that of many at once no more get through than one after the other. Raises
    TooManyAttempts, with `retry_after` in seconds.
    """
    where = network(ip)
    further = {_key("network", where): NETWORK, _key("account", email): ACCOUNT}
    return _count({_key("pair", email, where): PAIR}, further)


@repeated
def passed(counted: tuple[str, ...]) -> None:
    """The password was right: its network is known from now on, and nothing was refused."""
    now = _now()
    with writing() as session:
        here = SignInLimit.key == counted[0]
        session.execute(_change().where(here).values(refused=0, last_at=now, passed_at=now))
        others = SignInLimit.key.in_(counted[1:]), SignInLimit.refused > 0
        session.execute(_change().where(*others).values(refused=SignInLimit.refused - 1))
        old = delete(SignInLimit).where(SignInLimit.last_at < now - KNOWN)
        session.execute(old.execution_options(synchronize_session=False))


def refused(
    way: str, account_id: int | None, *, request_id: str | None, ip: str | None, count: bool = True
) -> None:
    """Write to the trail that a sign-in was refused; `account_id` is None if none is known.

    With `count`, it counts for the network, and TooManyAttempts is raised instead if that has to
    wait: a right token or provider is never asked about that.
    """
    if count:
        _count({_key(way, network(ip)): NETWORK}, {})
    _tell(
        way,
        account_id,
        Actor(id=None, name="nobody", role=Role.VIEWER, request_id=request_id, ip=ip),
    )


def refused_bearer(ip: str | None) -> None:
    """Count a refused token of a program for its network. Raises TooManyAttempts.

    Nothing waits for it, and a catalog that is busy does not count.
    """
    try:
        with in_passing() as connection:
            _look(connection, {_key("bearer", network(ip)): NETWORK}, {})
    except SQLAlchemyError:
        return


def network(ip: str | None) -> str:
    """The network of an address, as one customer of a provider has it."""
    address = ipaddress.ip_address(ip) if ip else None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


@repeated
def _tell(way: str, account_id: int | None, actor: Actor) -> None:
    with writing() as session:
        audit.record(session, actor, "account.sign_in_refused", ("account", account_id), by=way)


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _count(first: Keys, further: Keys) -> tuple[str, ...]:
    for _ in range(3):
        try:
            return _count_once(first, further)
        except IntegrityError:  # two requests at once were the first
            continue
    raise TooManyAttempts("Many sign in at the same moment. Try again in a second.", retry_after=1)


@repeated
def _count_once(first: Keys, further: Keys) -> tuple[str, ...]:
    with writing() as session:
        return _look(session, first, further)


def _look(session: Session, first: Keys, further: Keys) -> tuple[str, ...]:
    """Refuse whoever has to wait; count the others, `further` only for unknown networks."""
    now, of = _now(), SignInLimit
    there = select(of.key, of.refused, of.last_at, of.passed_at)
    there = there.where(SignInLimit.key.in_([*first, *further])).order_by(SignInLimit.key)
    rows = {row.key: row for row in session.execute(there.with_for_update())}
    known = any(row.passed_at and now - row.passed_at < KNOWN for row in rows.values())
    keys = first if known else first | further
    waits = [
        keys[key].wait(row.refused, row.last_at, now) for key, row in rows.items() if key in keys
    ]
    if (wait := ceil(max(waits, default=0))) > 0:
        raise TooManyAttempts(
            f"Too many sign-ins were refused. Try again in {wait} second{'s'[: wait > 1]}.",
            retry_after=wait,
        )
    for key in sorted(keys):
        row = rows.get(key)
        before = row.refused if row and now - row.last_at < FORGOTTEN else 0
        counted = {"refused": before + 1, "last_at": now}
        if row is None:
            session.execute(insert(SignInLimit).values(key=key, **counted))
        else:
            session.execute(_change().where(SignInLimit.key == key).values(counted))
    return tuple(keys)


def _now() -> datetime:
    return datetime.now(UTC)


def _change() -> Update:
    return update(SignInLimit).execution_options(synchronize_session=False)
