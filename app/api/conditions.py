"""Versions as entity tags, so that a change applies only to the version that was read."""

import re

from flask import request
from werkzeug.exceptions import PreconditionRequired

from app.errors import InputInvalid
from app.models import Account, Database, Project
from headway.errors import HeadwayError

TAG = r'(W/)?"[!#-~]*"'
TAGS = re.compile(rf"\*|{TAG}(\s*,\s*{TAG})*")
Versioned = Account | Database | Project
VERSION = re.compile(r"[1-9][0-9]{0,9}")


def expected(key: int, changed: type[HeadwayError]) -> int | None:
    """The version of this row that `If-Match` names; None for `*`.

    Raises `changed` if it names none, InputInvalid or PreconditionRequired.
    """
    if "If-Match" not in request.headers:
        raise PreconditionRequired(
            "Send `If-Match` with the ETag of what you read, or `*` for whatever is there."
        )
    if not TAGS.fullmatch(request.headers["If-Match"]):
        raise InputInvalid("`If-Match` takes the ETag of what you read, quotes and all, or `*`.")
    if request.if_match.star_tag:
        return None
    for tag in request.if_match.as_set():
        mine, _, version = tag.partition("-")
        if mine == str(key) and VERSION.fullmatch(version):
            return int(version)
    raise changed("`If-Match` names no version of this one. Read it again.")


def etag(row: Versioned) -> str:
    """The entity tag of a row's version."""
    return f"{row.id}-{row.version}"


def tag(row: Versioned) -> dict[str, str]:
    """The `ETag` header of a row's version."""
    return {"ETag": f'"{etag(row)}"'}
