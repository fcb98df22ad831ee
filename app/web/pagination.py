"""Keyset pages: where the next one begins."""

from flask import request

PAGE = 50
"""How many rows a page of a list has."""


def after() -> int | None:
    """What the link to the next page says; None at the beginning, or if it says nothing of ours."""
    text = request.args.get("after", "")
    return int(text) if text.isdecimal() and len(text) < 19 else None  # noqa: PLR2004
