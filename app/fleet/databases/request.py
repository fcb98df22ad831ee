"""What somebody says of a database, checked: each field fits, and the URL leads to one place."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from app.errors import AccountNotFound, InputInvalid
from app.fleet.addresses import arguments
from app.fleet.addresses.urls import parse, resolve
from app.fleet.core.transactions import CatalogSession
from app.fleet.core.validation import fitting, is_id, labels_of, strategy_of
from app.models import Account, Database, Strategy
from headway.dialects.urls import DatabaseURL
from headway.errors import DatabaseUnreachable

FIELDS = {"name", "url", "reference", "owner_id", "owner", "notes", "strategy", "labels", "x"}


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a database is, as it is kept."""

    url: DatabaseURL | None
    """None while only workers can follow the reference."""
    reference: str | None

    @property
    def identity(self) -> str | None:
        """What it is recognised by, however its URL is spelled."""
        return self.url.identity if self.url else None

    def columns(self) -> dict[str, Any]:
        """What is kept of it."""
        url = self.url
        return {
            "url": url.text() if url and not self.reference else None,
            "reference": self.reference,
            "address": self.reference or (url.display if url else None),
            "identity": self.identity,
            "dialect": url.dialect if url else None,
            "server": (url.server or "")[:255] or None if url else None,
        }


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A database that is to be registered."""

    name: str
    place: Place
    notes: str | None
    strategy: str
    labels: Mapping[str, str]
    x: Mapping[str, str]
    """Its own -x arguments, over those of its project."""
    owner_id: int | None
    owner: str | None
    """An e-mail address or id that is still to be looked up."""

    def columns(self) -> dict[str, Any]:
        """What is kept of it, without its project, owner and labels."""
        return {
            "name": self.name,
            "notes": self.notes,
            "strategy": self.strategy,
            "x": dict(self.x) or None,
            **self.place.columns(),
        }


def draft_of(values: Mapping[str, Any]) -> Draft:
    """Values of a database, checked. Opens nothing. A name that is not given follows the address.

    Raises InputInvalid, AddressInvalid or OutsideRoots.
    """
    if unknown := sorted(set(values) - FIELDS):
        raise InputInvalid(f"A database has no field {', '.join(unknown)}.")
    if "://" in (values.get("name") or ""):
        raise InputInvalid("A name cannot be a URL. Give the URL as `url`.", field="name")
    place = place_of(values)
    texts = {
        "name": values.get("name") or _name_of(place),
        "notes": values.get("notes") or None,
        "strategy": strategy_of(values.get("strategy") or Strategy.WAVE),
    }
    labels = labels_of(values.get("labels") or {})
    return Draft(
        **fitting(Database, texts),
        place=place,
        labels={name: value for name, value in labels.items() if value is not None},
        x=arguments.without_none(arguments.checked(values.get("x") or {})),
        owner_id=values.get("owner_id"),
        owner=values.get("owner") or None,
    )


def place_of(values: Mapping[str, Any]) -> Place:
    """Where a database is, from its `url` or `reference`: one of them."""
    url, reference = values.get("url"), values.get("reference")
    if bool(url) == bool(reference):
        raise InputInvalid("Give either a URL (`url`) or a reference to one (`reference`).")
    if url:
        return Place(url=parse(url), reference=None)
    fitting(Database, {"reference": reference})
    try:
        return Place(url=resolve(str(reference)), reference=reference)
    except DatabaseUnreachable:  # a worker's environment, or its machine, will have it
        return Place(url=None, reference=reference)


def owner_of(session: CatalogSession, draft: Draft) -> int | None:
    """The account that a draft names. Raises AccountNotFound."""
    return OwnersById(session, [draft])(draft)


class OwnersById:  # reads as a verb where it is used
    """The accounts that many drafts name, found with one question."""

    def __init__(self, session: CatalogSession, drafts: Iterable[Draft]) -> None:
        said = [owner for draft in drafts if (owner := _owner(draft))]
        ids = [key for owner in said if (key := _id(owner))]
        query = select(Account.id, Account.email).where(
            Account.id.in_(ids) | Account.email.in_([owner for owner in said if not _id(owner)])
        )
        found = session.execute(query).all() if said else []
        self._known: dict[str, int] = {str(row.id): row.id for row in found} | {
            row.email: row.id for row in found if row.email
        }

    def __call__(self, draft: Draft) -> int | None:
        owner = _owner(draft)
        if owner is None:
            return None
        if owner not in self._known:
            said = "no such account" if "://" in owner else f"no account {owner}"
            raise AccountNotFound(f"There is {said} to own {draft.name}.")
        return self._known[owner]


def owner_known(session: CatalogSession, owner_id: int | None) -> None:
    """Raise AccountNotFound unless there is such an account."""
    if owner_id is not None and session.get(Account, owner_id) is None:
        raise AccountNotFound(f"There is no account {owner_id}.", account=owner_id)


def _owner(draft: Draft) -> str | None:
    if draft.owner_id is not None:
        return str(draft.owner_id)
    return draft.owner.strip().lower() if draft.owner else None


def _id(owner: str) -> int | None:
    return int(owner) if is_id(owner) else None


def _name_of(place: Place) -> str:
    if place.reference:
        return place.reference.rpartition("/")[2].removeprefix("env:")
    url = place.url
    if url is None:
        return ""
    return (Path(url.name).stem if url.dialect == "sqlite" else url.schema or url.name)[:128]
