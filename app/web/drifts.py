"""`/drifts`: differences between databases and their revisions, and which are ignored."""

import re
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import DifferenceNotFound, InputInvalid
from app.fleet import drift as fleet
from app.fleet import projects
from app.fleet.core.validation import parse_whole
from app.web import access
from app.web.overview import project_id
from app.web.pagination import PAGE
from headway.errors import HeadwayError

bp = APIBlueprint("drifts", __name__, enable_openapi=False, url_prefix="/drifts")

MOST_PROJECTS = 200
SIGNS = {"missing": "\N{MINUS SIGN}", "extra": "+", "other": "~"}
WORDS = re.compile(r"(missing|extra|other) (\w+) (.+)", re.DOTALL)


@bp.get("/")
def list_() -> str:
    """A page of differences, the most frequent first."""
    actor = access.actor()
    ignored = request.args.get("ignored", "")
    found, following = fleet.list_groups(
        actor,
        project_id(),
        limit=PAGE,
        after=parse_whole(request.args.get("after", "")),
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
        checked=fleet.drift_coverage(actor, project_id()),
    )


@bp.get("/<int:in_project>-<string:digest>")
def show(in_project: int, digest: str) -> str:
    """The page of a difference: its databases, SQL that fixes it, and whether it is ignored."""
    return _page(in_project, digest)


@bp.post("/<int:in_project>-<string:digest>/ignore")
def ignore(in_project: int, digest: str) -> Any:
    """Ignore a difference in all databases of the project."""
    try:
        fleet.ignore(access.actor(), in_project, digest, request.form.get("reason", ""))
    except InputInvalid as error:
        return _page(in_project, digest, error), 422
    flash("Ignored: it no longer counts as drift, and gates ignore it too.", "good")
    return redirect(url_for("web.drifts.show", in_project=in_project, digest=digest))


@bp.post("/<int:in_project>-<string:digest>/unignore")
def unignore(in_project: int, digest: str) -> Any:
    """Stop ignoring a difference."""
    fleet.unignore(access.actor(), in_project, digest)
    flash("It counts as drift again.", "good")
    return redirect(url_for("web.drifts.show", in_project=in_project, digest=digest))


def _page(in_project: int, digest_text: str, refused: HeadwayError | None = None) -> str:
    actor = access.actor()
    digest = fleet.find_digest(actor, in_project, digest_text)
    found, _ = fleet.list_groups(actor, in_project, limit=1, digest=digest)
    if not found:
        raise DifferenceNotFound("No database has this difference any more.")
    members, following = fleet.list_members(
        actor,
        in_project,
        digest,
        limit=PAGE,
        after=parse_whole(request.args.get("after", "")),
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
def by_table(found: list[fleet.DatabaseDifference]) -> dict[str, list[dict[str, Any]]]:
    """Template filter: table -> its differences, each with a sign and words."""
    tables: dict[str, list[dict[str, Any]]] = {}
    for one in found:
        match = WORDS.match(one.says)
        side = match[1] if match else "other"
        table, _, rest = match[3].partition(".") if match else ("", "", "")
        words = f"{side} {match[2]} {rest}".rstrip() if match and table else one.says
        tables.setdefault(table or "the schema", []).append(
            {"sign": SIGNS[side], "side": side, "words": words, "of": one}
        )
    return tables
