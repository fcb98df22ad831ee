"""`/drifts`: how databases differ from what their revisions make, and what of it is accepted."""

import re
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import DifferenceNotFound, InputInvalid
from app.fleet import drift as fleet
from app.fleet import projects
from app.fleet.core.validation import whole
from app.web import access
from app.web.overview import project_id
from headway.errors import HeadwayError

bp = APIBlueprint("drifts", __name__, enable_openapi=False, url_prefix="/drifts")

PAGE = 50
MOST_PROJECTS = 200
SIGNS = {"missing": "\N{MINUS SIGN}", "extra": "+", "other": "~"}
WORDS = re.compile(r"(missing|extra|other) (\w+) (.+)", re.DOTALL)


@bp.get("/")
def list_() -> str:
    """Each difference once, those that most databases share first."""
    actor = access.actor()
    ignored = request.args.get("ignored", "")
    found, following = fleet.list_groups(
        actor,
        project_id(),
        limit=PAGE,
        after=whole(request.args.get("after", "")),
        ignored={"1": True, "": False}.get(ignored),
    )
    known, _ = projects.list_projects(actor, limit=MOST_PROJECTS)
    return render_template(
        "drifts.html",
        groups=found,
        following=following,
        ignored=ignored,
        project=project_id(),
        projects={one.id: one.name for one in known},
        checked=fleet.checked(actor, project_id()),
    )


@bp.get("/<int:in_project>-<string:digest>")
def show(in_project: int, digest: str) -> str:
    """One difference: who shares it, what mends it, and whether it is accepted."""
    return _page(in_project, digest)


@bp.post("/<int:in_project>-<string:digest>/ignore")
def ignore(in_project: int, digest: str) -> Any:
    """Accept it, for all databases of the project."""
    try:
        fleet.ignore(access.actor(), in_project, digest, request.form.get("reason", ""))
    except InputInvalid as error:
        return _page(in_project, digest, error), 422
    flash("Ignored: it no longer counts as drift, for a gate neither.", "good")
    return redirect(url_for("web.drifts.show", in_project=in_project, digest=digest))


@bp.post("/<int:in_project>-<string:digest>/unignore")
def unignore(in_project: int, digest: str) -> Any:
    """Accept it no more."""
    fleet.unignore(access.actor(), in_project, digest)
    flash("It counts again.", "good")
    return redirect(url_for("web.drifts.show", in_project=in_project, digest=digest))


def _page(in_project: int, said: str, refused: HeadwayError | None = None) -> str:
    actor = access.actor()
    digest = fleet.find_digest(actor, in_project, said)
    found, _ = fleet.list_groups(actor, in_project, limit=1, digest=digest)
    if not found:
        raise DifferenceNotFound(
            "No database has this difference any more: the last checks did not find it."
        )
    members, following = fleet.list_members(
        actor,
        in_project,
        digest,
        limit=PAGE,
        after=whole(request.args.get("after", "")),
    )
    return render_template(
        "drift.html",
        group=found[0],
        project=projects.get_project(actor, in_project),
        databases=members,
        following=following,
        refused=refused,
    )


@bp.app_template_filter()
def by_table(found: list[fleet.Differs]) -> dict[str, list[dict[str, Any]]]:
    """Differences under the table that they are about, each with its sign and its words."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        said = WORDS.match(one.says)
        side = said[1] if said else "other"
        table, _, rest = said[3].partition(".") if said else ("", "", "")
        words = f"{side} {said[2]} {rest}".rstrip() if said and table else one.says
        tables.setdefault(table or "the schema", []).append(
            {"sign": SIGNS[side], "side": side, "words": words, "of": one}
        )
    return tables
