"""`/audit`: the audit trail."""

from urllib.parse import urlencode

from apiflask import APIBlueprint
from flask import render_template, request, url_for

from app.errors import InputInvalid
from app.fleet.core import audit as fleet
from app.web import access
from app.web.pagination import PAGE, after

bp = APIBlueprint("audit", __name__, enable_openapi=False, url_prefix="/audit")

FILTERS = ("actor", "action", "type", "id")


@bp.get("/")
def list_() -> str:
    """A page of events, filtered, newest first."""
    chosen = {name: value for name, value in request.args.items() if value and name in FILTERS}
    found, following = fleet.list_events(
        access.actor(),
        limit=PAGE,
        after=after(),
        actor_id=_number(chosen.get("actor")),
        action=chosen.get("action"),
        subject_type=chosen.get("type"),
        subject_id=_number(chosen.get("id")),
    )

    def link(**changes: object) -> str:
        merged = {name: value for name, value in (chosen | changes).items() if value}
        return f"{url_for('web.audit.list_')}?{urlencode(merged)}"

    return render_template(
        "audit.html",
        events=found,
        following=following,
        chosen=chosen,
        link=link,
        types=fleet.SUBJECTS,
    )


def _number(text: str | None) -> int | None:
    if text and not (text.isdecimal() and len(text) < 10):  # noqa: PLR2004
        raise InputInvalid("An id must be a whole number.")
    return int(text) if text else None
