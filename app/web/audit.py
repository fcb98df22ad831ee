"""`/audit`: the audit trail."""

from urllib.parse import urlencode

from apiflask import APIBlueprint
from flask import render_template, request, url_for

from app.fleet.core import audit as fleet
from app.fleet.core.validation import parse_whole
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
        actor_id=parse_whole(chosen.get("actor", ""), "An account"),
        action=chosen.get("action"),
        subject_type=chosen.get("type"),
        subject_id=parse_whole(chosen.get("id", ""), "What it is about"),
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
