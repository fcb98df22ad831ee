"""Response headers that several endpoints share."""

from urllib.parse import urlencode

from flask import request, url_for


def made(where: str, replayed: bool) -> dict[str, str]:
    """Headers of a 201: the URL of the new resource, and whether it was made before."""
    return {"Location": where} | ({"Idempotent-Replayed": "true"} if replayed else {})


def under_way(rollout_id: int) -> dict[str, str]:
    """Headers of a 202: the URL at which to read the progress."""
    return {"Location": url_for("api.rollouts.progress", rollout_id=rollout_id)}


def next_link(after: int | None) -> dict[str, str]:
    """Headers of a page: a link to the next one; {} for the last."""
    if after is None:
        return {}
    query = urlencode(request.args.to_dict() | {"after": after})
    return {"Link": f'<{request.path}?{query}>; rel="next"'}
