"""Names as databases take them."""

import string

SMALL = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def folded(name: str) -> str:
    """A name with small letters a to z, as SQLite and PostgreSQL in UTF-8 have it: É stays É."""
    return name.translate(SMALL)
