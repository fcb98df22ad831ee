"""Pagination of lists."""

from flask import request

PAGE = 50
"""How many rows a page of a list has."""


def after() -> int | None:
    """The parameter `after`; None if it is missing or invalid."""
    text = request.args.get("after", "")
    return int(text) if text.isdecimal() and len(text) < 19 else None  # noqa: PLR2004
