"""`/projects`: the list of projects, and the pages of a project and of a revision."""

import difflib
from itertools import pairwise
from pathlib import Path
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid, RoleInsufficient
from app.fleet import projects as fleet
from app.fleet import workers
from app.fleet.addresses import paths
from app.fleet.projects import grants, revisions
from app.fleet.reports import overview, revision_chart
from app.http.statuses import status_and_headers
from app.models import Loading, Project, Revision
from app.web import access, filters
from app.web.pagination import PAGE, after
from app.web.revision_graph import draw
from headway.errors import HeadwayError
from headway.plan import sql_risks
from headway.plan.register import DIALECTS

bp = APIBlueprint("projects", __name__, enable_openapi=False, url_prefix="/projects")

MOST_MISSING = 100
MOST_FOUND = 12
COMMON = ("migrations", "alembic", "db", "scripts", "/")
"""Folder names that are not used as the name of a project."""
SECONDS = 3
"""The reload interval without JavaScript, while the scripts are being read."""
SCRIPTS = {"location", "ini", "x"}
"""Fields that say which code workers run: for admins of the fleet."""
MOST_GRANTS = 200
FIELDS = ("name", "location", "ini", "x", "notes", "refresh_seconds")
NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MySQL and MariaDB"}


@bp.get("/")
def list_() -> str:
    """A page of projects, in the order of creation."""
    actor, search = access.actor(), request.args.get("search", "").strip()[:64]
    found, following = fleet.list_projects(actor, limit=PAGE, after=after(), search=search or None)
    counts = {one.id: one for one in overview.overview(actor).projects}
    return render_template(
        "projects.html", projects=found, following=following, counts=counts, search=search
    )


@bp.route("/new", methods=["GET", "POST"])
def new() -> Any:
    """Create a project. Its code does not run before a worker reads it."""
    actor = access.actor()
    actor.require("projects.create")
    if request.method == "GET":
        return _form(None, {"refresh_seconds": "300", **request.args})
    try:
        project, _ = fleet.create_project(actor, _project_values())
    except RoleInsufficient:
        raise
    except HeadwayError as error:
        return _form(None, request.form, error), *status_and_headers(error)
    return redirect(url_for("web.projects.show", project_id=project.id))


@bp.get("/<int:project_id>")
def show(project_id: int) -> str:
    """The page of a project; with `?part=live`, only the parts that change."""
    actor = access.actor()
    project = fleet.get_project(actor, project_id)
    chart = revision_chart.chart(actor, project_id)
    drawing = draw(chart, fold=not request.args.get("all"), after=request.args.get("after", ""))
    shown = [name for row in drawing.rows for name in row.revisions if not row.is_folded]
    missing = revision_chart.missing(actor, project_id, limit=MOST_MISSING)
    return render_template(
        "project_live.html" if request.args.get("part") == "live" else "project.html",
        project=project,
        counts=overview.overview(actor, project_id=project_id),
        chart=chart,
        drawing=drawing,
        entries=revision_chart.details_of(actor, project_id, shown),
        edited=revision_chart.edited(actor, project_id),
        missing=[row for row in missing if row.revision not in chart.nodes],
        folded=any(row.is_folded for row in drawing.rows),
        idle=not workers.count_alive(),
        grants=grants.list_grants(actor, limit=MOST_GRANTS, project_id=project_id)[0],
        roles=grants.ROLES,
        again=SECONDS if project.state == Loading.WAITING else None,
    )


@bp.route("/<int:project_id>/change", methods=["GET", "POST"])
def change(project_id: int) -> Any:
    """Change a project, if it still has the version that the form showed."""
    actor = access.actor()
    actor.require("projects.change")
    project = fleet.get_project(actor, project_id)
    actor.require("projects.change", project_id)
    if request.method == "GET":
        return _form(project, _form_values(project))
    try:
        values = _project_values()
        if not actor.may("projects.scripts"):  # the form of this account has no such fields
            values = {name: values[name] for name in values.keys() - SCRIPTS & values.keys()}
        fleet.change_project(actor, project_id, values, version=_version())
    except RoleInsufficient:
        raise
    except HeadwayError as error:
        return _form(project, request.form, error), *status_and_headers(error)
    flash("Changed.", "good")
    return redirect(url_for("web.projects.show", project_id=project_id))


@bp.route("/<int:project_id>/delete", methods=["GET", "POST"])
def delete(project_id: int) -> Any:
    """Show what is deleted (GET), or delete the project (POST)."""
    actor = access.actor()
    actor.require("projects.create")
    project = fleet.get_project(actor, project_id)
    if request.method == "GET":
        return render_template("project_delete.html", project=project)
    fleet.delete_project(actor, project_id, version=_version())
    flash(f"Project {project.name} is deleted. Its scripts were not changed.", "good")
    return redirect(url_for("web.projects.list_"))


@bp.post("/<int:project_id>/refresh")
def refresh(project_id: int) -> Any:
    """Request a refresh of all its databases; for a broken project, to read its scripts again."""
    project = fleet.ask_refresh(access.actor(), project_id)
    is_broken = project.state == Loading.BROKEN
    what = "reads its scripts again" if is_broken else "checks all its databases"
    flash(f"A worker {what} now.", "good")
    return redirect(url_for("web.projects.show", project_id=project_id))


@bp.post("/<int:project_id>/grants")
def give_grant(project_id: int) -> Any:
    """Give an account a role in the project."""
    access.actor().require("grants.change")
    access.prove()
    account, role = request.form.get("account", "").strip(), request.form.get("role", "")
    given = grants.give_grant(access.actor(), project_id, account, role)
    flash(f"{given.account} has the role {given.role} in {given.project}.", "good")
    return redirect(url_for("web.projects.show", project_id=project_id))


@bp.post("/<int:project_id>/grants/<int:account_id>/take")
def take_grant(project_id: int, account_id: int) -> Any:
    """Take the role of an account in the project away."""
    grants.take_grant(access.actor(), project_id, account_id)
    flash(f"Account {account_id} has no role of its own in this project any more.", "good")
    return redirect(url_for("web.projects.show", project_id=project_id))


@bp.get("/<int:project_id>/revisions/<string:revision>")
def revision(project_id: int, revision: str) -> str:
    """The page of a revision: its parents, script, edits, SQL and databases."""
    actor = access.actor()
    project = fleet.get_project(actor, project_id)
    row, *former = revisions.versions_of(actor, project_id, revision)
    chart = revision_chart.chart(actor, project_id)
    return render_template(
        "revision.html",
        project=project,
        row=row,
        chart=chart,
        above=sorted(chart.children.get(row.revision, ())),
        entry=revision_chart.details_of(actor, project_id, [row.revision]).get(row.revision),
        sql=[(NAMES[name], _sql(row, name)) for name in DIALECTS if name in row.sql],
        edits=[(old, _difference(old, new)) for new, old in pairwise([row, *former])],
    )


def _sql(row: Revision, dialect: str) -> list[tuple[str, str | None, list[str]]]:
    """(Direction, SQL, risks) of a revision on one kind of database."""
    texts = [(way, row.sql[dialect].get(way)) for way in ("upgrade", "downgrade")]
    return [
        (way, text, [risk.says for risk in sql_risks.notes({row.revision: text}, dialect)])
        for way, text in texts
    ]


def _difference(before: Revision, after: Revision) -> str | None:
    """A diff of two texts of a revision; None if the source of one is not known."""
    if before.script is None or after.script is None:
        return None
    lines = difflib.unified_diff(
        before.script.splitlines(), after.script.splitlines(), "before", "after", lineterm=""
    )
    return "\n".join(lines)


def _form(project: Project | None, given: Any, error: HeadwayError | None = None) -> str:
    actor = access.actor()
    return render_template(
        "project_form.html",
        project=project,
        given=given,
        roots=paths.settings().project_roots,
        found={one: _name_for(one) for one in fleet.found_folders(actor, limit=MOST_FOUND)}
        if project is None
        else {},
        error=error,
        field=error.context.get("field") if error else None,
    )


def _name_for(folder: str) -> str:
    """A suggested name for the project of a folder."""
    names = [name for name in Path(folder).parts if name not in COMMON]
    return names[-1][:64] if names else ""


def _project_values() -> dict[str, Any]:
    form = request.form
    seconds = form.get("refresh_seconds", "").strip()
    if not seconds.isdecimal() or len(seconds) > 6:  # noqa: PLR2004
        raise InputInvalid(
            "The interval must be a number of seconds; 0 is never.", field="refresh_seconds"
        )
    return {
        "name": form.get("name", "").strip(),
        "location": form.get("location", "").strip(),
        "ini": form.get("ini", "").strip() or None,
        "x": filters.arguments_in(form.get("x", "")),
        "notes": form.get("notes", "").replace("\r", "").strip() or None,
        "refresh_seconds": int(seconds),
        "requires_approval": bool(form.get("requires_approval")),
    }


def _form_values(project: Project) -> dict[str, str]:
    """The values of a project for its form."""
    values = {name: str(getattr(project, name) or "") for name in FIELDS}
    return values | {
        "x": "\n".join(f"{name}={value}" for name, value in project.x.items()),
        "refresh_seconds": str(project.refresh_seconds),
        "requires_approval": "1" if project.requires_approval else "",
    }


def _version() -> int:
    text = request.form.get("version", "")
    if not text.isdecimal() or len(text) > 9:  # noqa: PLR2004
        raise InputInvalid("The form has no version. Open the page of the project again.")
    return int(text)
