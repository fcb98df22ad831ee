"""Encrypted values in a hidden field of a form, so that exactly what was shown is done.

They may contain secrets, so they cannot be read or changed, and only the same account can use
them.
"""

import base64
import hashlib
import json
import lzma
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from flask import current_app

from app.errors import InputInvalid
from app.fleet.core.permissions import Actor

LASTS = 3600
MOST = 400_000
"""The most characters, somewhat less than a form may have."""
# A third smaller than zlib for a list of databases, with 25 MB of memory instead of 94.
SMALL = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**21}]


def encrypt_values(actor: Actor, values: Any) -> str:
    """Values as text for a hidden field, valid for an hour. Raises InputInvalid if too long."""
    plain = json.dumps([actor.id, values]).encode()
    text = fernet().encrypt(lzma.compress(plain, filters=SMALL)).decode()
    if len(text) > MOST:
        raise InputInvalid(
            "These are too many databases for this page. Nothing was done. Use `flask databases "
            "import`."
        )
    return text


def decrypt_values(actor: Actor, text: str) -> Any:
    """Decrypt the values. Raises InputInvalid if they are too old or of another account."""
    try:
        owner, values = json.loads(lzma.decompress(fernet().decrypt(text.encode(), ttl=LASTS)))
    except (InvalidToken, ValueError):
        owner, values = None, None
    if values is None or owner != actor.id:
        raise InputInvalid(
            "This page is too old. Nothing was done. Go back and show the databases again."
        )
    return values


def fernet() -> Fernet:
    """A key that all replicas have; not the one that encrypts secrets in the catalog."""
    secret = str(current_app.config["SECRET_KEY"]).encode()
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"headway sealed " + secret).digest()))
