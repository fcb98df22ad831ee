"""The HTTP status of an error, for the API and the pages alike."""

from flask import request

from app.errors import (
    ApprovalRefused,
    CatalogBehind,
    ConfirmationNeeded,
    PasswordRefused,
    RoleInsufficient,
    ServerBusy,
    TooManyAttempts,
    TooManyStreams,
)
from headway.errors import DatabaseDenied, ErrorKind, HeadwayError

STATUS = {
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.INVALID: 422,
    ErrorKind.CONFLICT: 409,
    ErrorKind.STALE: 412,
    ErrorKind.BUSY: 409,
    ErrorKind.UNREACHABLE: 503,
    ErrorKind.FAILED: 502,
    ErrorKind.DENIED: 401,
    ErrorKind.MISCONFIGURED: 500,
    ErrorKind.INTERNAL: 500,
}
STATUS_OF = {
    RoleInsufficient: 403,  # a better token would not be asked for
    ApprovalRefused: 403,
    ConfirmationNeeded: 403,
    PasswordRefused: 403,  # beside a token, which is right
    TooManyAttempts: 429,
    TooManyStreams: 503,  # the server's, not the thing's
    ServerBusy: 503,
    CatalogBehind: 503,  # while it runs: another release took its tables back
    DatabaseDenied: 502,  # our password is refused, not the caller's token
}
"""Statuses of errors whose kind is not enough to choose one."""
RETRY = {ErrorKind.BUSY: 5, ErrorKind.UNREACHABLE: 5}


def status_and_headers(error: HeadwayError) -> tuple[int, dict[str, str]]:
    """The status of an answer that shows this error, and when to try again as a header."""
    headers = {}
    if error.kind in RETRY:
        headers["Retry-After"] = str(error.context.get("retry_after", RETRY[error.kind]))
    if error.kind is ErrorKind.STALE and request.form:
        return STATUS[ErrorKind.CONFLICT], headers  # a form has its version in a field
    return STATUS_OF.get(type(error), STATUS[error.kind]), headers
