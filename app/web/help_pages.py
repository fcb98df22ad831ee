"""`/help`: what to do on duty, the words, and the problems, from the files of the documentation."""

from apiflask import APIBlueprint
from flask import abort, render_template, url_for

from app.http import pages

bp = APIBlueprint("help", __name__, enable_openapi=False, url_prefix="/help")


@bp.get("/")
@bp.get("/<any('glossary', 'problems'):name>")
def show(name: str = "on-duty") -> str:
    """A page of the documentation; without a name, the one for whoever is on duty."""
    path = pages.HELP[name]
    file = pages.DOCS / path
    if not file.is_file():
        abort(404)
    return _shown(file.read_text(), path.rpartition("/")[0])


@bp.get("/problems/<slug>")
def problem(slug: str) -> str:
    """The page of a problem: its meaning and what to do."""
    return _shown(pages.problem_text(slug), "problems")


def _shown(text: str, folder: str) -> str:
    return render_template("help.html", **pages.rendered(text, folder, _address_of))


def _address_of(page: str) -> str:
    name = pages.SERVED.get(page)
    if name == "on-duty":
        return url_for("web.help.show")
    if name:
        return url_for("web.help.show", name=name)
    return url_for("web.help.problem", slug=page.removeprefix("problems/"))
