"""Headers that several nouns answer with."""

from urllib.parse import urlencode

from flask import request


def made(where: str, replayed: bool) -> dict[str, str]:
    """Of a 201: where the new thing is, and whether an equal request had made it before."""
    return {"Location": where} | ({"Idempotent-Replayed": "true"} if replayed else {})


def next_link(after: int | None) -> dict[str, str]:
    """Of a page: the address of the next one."""
    if after is None:
        return {}
    query = urlencode(request.args.to_dict() | {"after": after})
    return {"Link": f'<{request.path}?{query}>; rel="next"'}
