"""Values that a page carries to its next one, so that what was shown is what is done.

They may hold secrets, so nobody can read or change them, and only who was given them can use them.
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
"""Characters: what a form may hold, with some room."""
# Of a list of databases a third less than zlib leaves, in 25 MB of memory instead of 94.
SMALL = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 2**21}]


def encrypt_values(actor: Actor, values: Any) -> str:
    """The values as a text for a hidden field, good for an hour. InputInvalid if it is too long."""
    plain = json.dumps([actor.id, values]).encode()
    text = _key().encrypt(lzma.compress(plain, filters=SMALL)).decode()
    if len(text) > MOST:
        raise InputInvalid(
            "These are too many for a page. Nothing was done: take `flask databases import`."
        )
    return text


def decrypt_values(actor: Actor, text: str) -> Any:
    """The values again. Raises InputInvalid if they are older than an hour, or another's."""
    try:
        owner, values = json.loads(lzma.decompress(_key().decrypt(text.encode(), ttl=LASTS)))
    except (InvalidToken, ValueError):
        owner, values = None, None
    if values is None or owner != actor.id:
        raise InputInvalid("This page is too old. Nothing was done: begin again.")
    return values


def _key() -> Fernet:
    """Of every replica the same; not the one that secrets are kept under."""
    secret = str(current_app.config["SECRET_KEY"]).encode()
    return Fernet(base64.urlsafe_b64encode(hashlib.sha256(b"headway sealed " + secret).digest()))
