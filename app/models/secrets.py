"""Secrets at rest: encrypted before they reach the catalog, decrypted only when needed."""

from typing import TYPE_CHECKING

from flask import current_app
from sqlalchemy import Dialect
from sqlalchemy.types import TypeDecorator

from app.models.columns import LongText
from app.settings import Settings

if TYPE_CHECKING:
    from app.models.vault import Vault


def vault() -> "Vault":
    """The current app's keys."""
    known = current_app.extensions.get("headway.vault")
    if known is None:
        from app.models.vault import Vault  # noqa: PLC0415  # with it cryptography, if it is used

        settings: Settings = current_app.extensions["headway"]
        known = current_app.extensions["headway.vault"] = Vault(settings.fernet_keys())
    return known


class Secret(TypeDecorator[str]):
    """Encrypted text. Map it `deferred`, so that lists do not decrypt it."""

    impl = LongText
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else vault().encrypt(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else vault().decrypt(value)
