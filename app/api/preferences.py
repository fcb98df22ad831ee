"""`Prefer: wait=N`: so long a caller waits for what takes long (RFC 7240)."""

import re

from flask import request

LONGEST_WAIT = 60
"""Seconds; a request that stays longer would keep others out."""
PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
WAIT = re.compile(r'\s*wait\s*=\s*(?:([0-9]+)|"([0-9]+)")\s*(?:;.*)?', re.IGNORECASE)


def wait_seconds() -> int | None:
    """How long this caller waits, at most 60 seconds; None if the request does not say."""
    for preference in PREFERENCE.findall(",".join(request.headers.getlist("Prefer"))):
        if found := WAIT.fullmatch(preference):
            number = (found[1] or found[2]).lstrip("0") or "0"
            return min(int(number[:3]), LONGEST_WAIT)
    return None


def applied(seconds: int) -> dict[str, str]:
    """The header that says how long was waited for at most."""
    return {"Preference-Applied": f"wait={seconds}"}
