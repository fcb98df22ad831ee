"""`/databases/new`: register one database by URL, or many from files, servers, schemas, a list.

Many databases are shown before they are registered, and exactly those are registered.
"""

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid
from app.fleet import databases as fleet
from app.fleet import projects
from app.fleet.addresses import paths
from app.fleet.core.permissions import Actor
from app.fleet.core.validation import parse_whole
from app.fleet.databases import foresee, import_sources
from app.http.statuses import status_and_headers
from app.models import Strategy
from app.web import access, encrypted_form, filters
from headway.errors import HeadwayError

bp = APIBlueprint("registering", __name__, enable_openapi=False, url_prefix="/databases")

WAYS = {
    "one": "One database, by URL",
    "files": "Files, by pattern",
    "server": "All databases of a server",
    "schemas": "All schemas of a database",
    "list": "A list: CSV or JSON lines",
}
MOST_ROWS = 10_000
MOST_PROJECTS = 200
SHOWN = 100
"""How many rows a preview shows; the others are counted."""


@bp.route("/new", methods=["GET", "POST"])
def new() -> Any:
    """Show a form (GET), or register one database or preview many (POST)."""
    actor = access.actor()
    actor.require("databases.change")
    way = request.values.get("from", "one")
    if way not in WAYS:
        raise InputInvalid(f"There is no such source. Use one of: {', '.join(WAYS)}.")
    refused = None
    if request.method == "POST":
        try:
            if request.form.get("sealed"):
                return _import(actor)
            return _one(actor) if way == "one" else _preview(actor, way)
        except HeadwayError as error:
            refused = error
    return _form(actor, way, refused)


def _form(actor: Actor, way: str, refused: HeadwayError | None) -> Any:
    known, _ = projects.list_projects(actor, limit=MOST_PROJECTS)
    page = render_template(
        "databases_new.html",
        ways=WAYS,
        way=way,
        projects=[one for one in known if actor.may("databases.change", one.id)],
        strategies=list(Strategy),
        given=filters.retyped(),
        roots=[str(root) for root in paths.settings().data_roots],
        refused=refused,
    )
    return (page, *status_and_headers(refused)) if refused else page


def _one(actor: Actor) -> Any:
    values = {
        "project_id": _into(),
        **{
            name: filters.form_value(name)
            for name in ("name", "url", "reference", "owner", "notes")
        },
        "strategy": filters.form_value("strategy") or Strategy.WAVE,
        "labels": filters.labels_in(request.form.get("labels", "")),
        "x": filters.arguments_in(request.form.get("x", "")),
    }
    if request.form.get("make"):
        creation = fleet.create_database(actor, values)
        database = fleet.get_database(actor, creation.database_id)
        flash(f"Started the creation of {database.name}.", "good")
        return redirect(url_for("web.rollouts.show", rollout_id=creation.rollout_id))
    database, _ = fleet.register_database(actor, values)
    flash("Registered. A worker checks it.", "good")
    return redirect(url_for("web.databases.show", database_id=database.id))


def _preview(actor: Actor, way: str) -> Any:
    into = _into()
    rows = import_sources.at_most(MOST_ROWS, _rows(way))
    if not rows and way == "files":
        raise InputInvalid(
            f"No SQLite file matches {filters.form_value('pattern')}.", field="pattern"
        )
    if not rows and way == "schemas":
        raise InputInvalid(
            f"No schema of this database matches {filters.form_value('names') or '*'}.",
            field="names",
        )
    foreseen, fresh = foresee(actor, into, rows)
    return render_template(
        "databases_preview.html",
        way=way,
        project=projects.get_project(actor, into),
        foreseen=foreseen,
        fresh=fresh[:SHOWN],
        refused=foreseen.refused[:SHOWN],
        sealed=encrypted_form.encrypt_values(actor, [into, rows]),
    )


def _import(actor: Actor) -> Any:
    """Register the databases that a preview has shown."""
    into, rows = encrypted_form.decrypt_values(actor, request.form["sealed"])
    done = fleet.register_many(actor, into, rows)
    if done.refused:
        project = projects.get_project(actor, into)
        return render_template(
            "databases_imported.html", project=project, done=done, shown=done.refused[:SHOWN]
        )
    known = f"; {done.known:,} registered already" if done.known else ""
    flash(f"Registered {done.added:,}{known}. A worker checks them.", "good")
    return redirect(url_for("web.databases.list_", project=into, order="registered", down="1"))


def _rows(way: str) -> Any:
    labels = filters.form_value("expression")
    if way == "files":
        pattern = filters.form_value("pattern")
        if not pattern:
            raise InputInvalid(
                f"Give a pattern for the files. Example: {paths.data_folder()}/*.db",
                field="pattern",
            )
        return import_sources.from_files(pattern, labels=labels, most=MOST_ROWS)
    if way in ("server", "schemas"):
        names, url = filters.form_value("names") or "*", request.form.get("url", "")
        source = import_sources.from_server if way == "server" else import_sources.from_schemas
        return source(url, names=names, labels=labels, most=MOST_ROWS)
    lines, is_json = _lines()
    return import_sources.from_json_lines(lines) if is_json else import_sources.from_csv(lines)


def _lines() -> tuple[list[str], bool]:
    """The lines of the file or of the text field, and whether they are JSON."""
    file = request.files.get("file")
    text = request.form.get("text", "")
    if file and file.filename:
        try:
            text = file.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputInvalid("This file is not UTF-8 text. Save it as CSV UTF-8.") from None
    if not text.strip():
        raise InputInvalid("Choose a file, or paste its lines.", field="text")
    return text.splitlines(keepends=True), text.lstrip().startswith("{")


def _into() -> int:
    found = parse_whole(request.form.get("project", ""))
    if found is None:
        raise InputInvalid("Choose a project.", field="project")
    return found
