"""Headers that several nouns answer with."""

from urllib.parse import urlencode

from flask import request, url_for


def made(where: str, replayed: bool) -> dict[str, str]:
    """Of a 201: where the new thing is, and whether an equal request had made it before."""
    return {"Location": where} | ({"Idempotent-Replayed": "true"} if replayed else {})


def under_way(rollout_id: int) -> dict[str, str]:
    """Of a 202: where to ask how far it is."""
    return {"Location": url_for("api.rollouts.progress", rollout_id=rollout_id)}


def next_link(after: int | None) -> dict[str, str]:
    """Of a page: the address of the next one."""
    if after is None:
        return {}
    query = urlencode(request.args.to_dict() | {"after": after})
    return {"Link": f'<{request.path}?{query}>; rel="next"'}
