"""`/api/docs` and `/problems/…`: documentation of the API, from local files."""

import posixpath
import re
from collections.abc import Callable
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

markdown = MarkdownIt().enable("table")
SWAGGER = Path(flask_swagger_ui.__file__).parent / "dist"
DOCS = ROOT / "docs"
HELP = {"on-duty": "on-duty.md", "glossary": "glossary.md", "problems": "problems/index.md"}
"""Pages of `docs/` that are served to people who are signed in, beside those of the problems."""
SERVED = {path.removesuffix(".md"): name for name, path in HELP.items()}
SLUG = re.compile(r"[a-z][a-z-]{2,60}")
LINK = re.compile(r"\[([^]]+)\]\(((?:\.\./)?(?:[a-z-]+/)?[a-z-]+\.md)(?:#[a-z-]*)?\)")
"""A link from one page of `docs/` to another, which may be one that is not served."""


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
    text = problem_text(slug)
    if request.accept_mimetypes.best_match(["text/plain", "text/html"]) != "text/html":
        return Response(text, mimetype="text/plain")
    return render_template("what.html", **rendered(text, "problems", _public))


def _public(page: str) -> str | None:
    return f"/{page}" if page not in SERVED else None


def problem_text(slug: str) -> str:
    """The Markdown of a problem; 404 if there is no such problem."""
    file = DOCS / "problems" / f"{slug}.md"
    if slug == "index" or not SLUG.fullmatch(slug) or not file.is_file():
        abort(404)
    return file.read_text()


def rendered(
    text: str, folder: str, address_of: Callable[[str], str | None]
) -> dict[str, str | Markup]:
    """A page of `docs/` as `title` and `text`, which is HTML.

    `folder` is the one below `docs/` that it is in. `address_of` gives the address of a page by
    its path without the ending (`problems/disk-full`), or None where it is not served: its name
    is shown then.
    """

    def link(found: re.Match[str]) -> str:
        said, path = found.groups()
        page = posixpath.normpath(posixpath.join(folder, path)).removesuffix(".md")
        is_problem = page.startswith("problems/") and page != "problems/index"
        address = address_of(page) if is_problem or page in SERVED else None
        return f"[{said}]({address})" if address else f"{said} (`docs/{page}.md`)"

    html = markdown.render(LINK.sub(link, text))
    title = text.partition("\n")[0].lstrip("# ")
    return {"title": title, "text": Markup(html)}  # noqa: S704  # our own file
