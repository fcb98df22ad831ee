"""Key rotation: encrypt every secret of the catalog with the first key."""

from dataclasses import dataclass

from sqlalchemy import column, select, table, update

from app.errors import SecretUnreadable
from app.extensions import db
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import repeated, writing
from app.models.secrets import vault

AT_ONCE = 500
KEPT = (("database", "url"), ("webhook", "url"), ("webhook", "secret"))
"""All columns with secrets. A test compares them with the models."""


@dataclass(kw_only=True)
class Rotated:
    """The result of a key rotation: counts of secrets."""

    renewed: int = 0
    fresh: int = 0
    """Secrets that had the first key already."""
    unreadable: int = 0
    """Secrets that no key of HEADWAY_ENCRYPTION_KEYS decrypts. They are left as they are."""


def rotate_keys(actor: Actor) -> Rotated:
    """Encrypt every secret with the first of HEADWAY_ENCRYPTION_KEYS. Then others can be removed.

    Works in transactions of 500, while the service runs. A second call changes nothing. Raises
    EncryptionKeyMissing.
    """
    actor.require("secrets.rotate")
    vault().encrypt("")  # raises early if there is no key
    total = Rotated()
    for where, name in KEPT:
        after: int | None = 0
        while after is not None:
            after = _rotate_some(where, name, after, total)
    with writing() as session:
        audit.record(session, actor, "secrets.rotated", ("catalog", None), **vars(total))
    return total


def _rotate_some(where: str, name: str, after: int, total: Rotated) -> int | None:
    """Rotate up to 500 secrets. Returns the id of the last one; None if there are no more."""
    # Without the column's own type, which would decrypt.
    rows = table(where, column("id"), column(name))
    secret = rows.c[name]
    query = select(rows.c.id, secret).where(rows.c.id > after, secret.is_not(None))
    found = db.session.execute(query.order_by(rows.c.id).limit(AT_ONCE)).all()
    renewed = {}
    for key, text in found:
        try:
            fresh = vault().renew(text)
        except SecretUnreadable:
            total.unreadable += 1
            continue
        if fresh is None:
            total.fresh += 1
        else:
            renewed[key, text] = fresh
    total.renewed += _store(where, name, renewed)
    return found[-1][0] if found else None


@repeated
def _store(where: str, name: str, renewed: dict[tuple[int, str], str]) -> int:
    """Store renewed secrets that have not been changed since. Returns how many."""
    if not renewed:
        return 0
    rows = table(where, column("id"), column(name))
    done = 0
    with writing() as session:
        for (key, before), text in renewed.items():
            same = update(rows).where(rows.c.id == key, rows.c[name] == before)
            done += session.execute(same.values({name: text})).rowcount  # type: ignore[attr-defined]
    return done
