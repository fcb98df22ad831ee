"""`/api/docs` and `/problems/…`: documentation of the API, from local files."""

import re
from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, abort, render_template, request, send_from_directory
from markdown_it import MarkdownIt
from markupsafe import Markup

from app.settings import ROOT

bp = Blueprint(
    "pages",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/api/static",
)

markdown = MarkdownIt()
SWAGGER = Path(flask_swagger_ui.__file__).parent / "dist"
PROBLEMS = ROOT / "docs" / "problems"
SLUG = re.compile(r"[a-z][a-z-]{2,60}")
LINK = re.compile(r"\[([^]]+)\]\((\.\./)?([a-z-]+)\.md(?:#[a-z-]*)?\)")
"""A link from one page of `docs/` to another, which may be outside of the folder we serve."""


@bp.get("/api/docs")
def docs() -> str:
    """The OpenAPI description in Swagger UI."""
    return render_template("docs.html")


@bp.get("/api/docs/<path:name>")
def docs_file(name: str) -> Response:
    """The files of Swagger UI."""
    return send_from_directory(SWAGGER, name)


@bp.get("/problems/<slug>")
def problem(slug: str) -> Response | str:
    """The page of a problem: its meaning and what to do. HTML for a browser, else plain text."""
    file = PROBLEMS / f"{slug}.md"
    if not SLUG.fullmatch(slug) or not file.is_file():
        abort(404)
    text = file.read_text()
    if request.accept_mimetypes.best_match(["text/plain", "text/html"]) != "text/html":
        return Response(text, mimetype="text/plain")
    title = text.partition("\n")[0].lstrip("# ")
    html = markdown.render(LINK.sub(_link, text))
    return render_template("what.html", title=title, text=Markup(html))  # noqa: S704  # our own file


def _link(found: re.Match[str]) -> str:
    """A link to another problem's page here; a page that is not served is named."""
    said, is_outside, page = found.groups()
    return f"{said} (`docs/{page}.md`)" if is_outside else f"[{said}]({page})"
