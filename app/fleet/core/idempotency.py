"""Idempotency keys: a POST that is sent twice with the same key is done once."""

import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import current_app
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from app.errors import DatabaseRegistered, EmailTaken, IdempotencyKeyReused, NameTaken
from app.extensions import db
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession
from app.models import IdempotencyKey

RACES = (IntegrityError, EmailTaken, NameTaken, DatabaseRegistered)
"""Errors of the second of two equal requests at once; it then returns the result of the first."""


Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request with an optional idempotency key."""

    actor: Actor
    key: str | None
    about: tuple[str, Any]

    def made(self) -> int | None:
        """The id of what an equal request with this key made; None if it is new or has no key.

        Raises IdempotencyKeyReused if the key was used for another request.
        """
        if not self.key or self.actor.id is None:
            return None
        query = select(IdempotencyKey).where(
            IdempotencyKey.account_id == self.actor.id, IdempotencyKey.key == self.key
        )
        known = db.session.scalar(query)
        if known is None:
            return None
        if known.fingerprint != self._fingerprint():
            raise IdempotencyKeyReused(
                f"The idempotency key {self.key} was used for another request. Use a new one."
            )
        return known.subject_id

    def once(self, make: Callable[[], Made], find: Callable[[int], Made]) -> tuple[Made, bool]:
        """Do a request once. Returns its result, and True if an equal request made it before.

        `make` does the work in a transaction that ends with `remember`; `find` returns the result
        with a stored id.
        """
        if (made := self.made()) is not None:
            return find(made), True
        try:
            return make(), False
        except RACES as error:
            if (made := self.made()) is None:
                raise error.with_traceback(None) from error
            return find(made), True

    def remember(self, session: CatalogSession, subject_id: int) -> None:
        """Store the id of the result, in the transaction of the request."""
        if self.key and self.actor.id is not None:
            session.add(
                IdempotencyKey(
                    account_id=self.actor.id,
                    key=self.key,
                    fingerprint=self._fingerprint(),
                    subject_id=subject_id,
                )
            )
            session.flush()

    def _fingerprint(self) -> str:
        """Keyed: a request may hold a URL with a password, which nobody is to guess from it."""
        text = json.dumps(self.about, sort_keys=True, default=str)
        key = str(current_app.config["SECRET_KEY"]).encode()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
