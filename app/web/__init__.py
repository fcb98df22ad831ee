"""The pages: for now the one at `/`, which says what this is and where to go."""

from flask import Blueprint, Flask, render_template

from app import boot
from app.settings import RELEASE

bp = Blueprint(
    "web", __name__, template_folder="templates", static_folder="static", static_url_path="/assets"
)


def init_app(app: Flask) -> None:
    """Register the pages."""
    app.register_blueprint(bp)


@bp.get("/")
def home() -> str:
    """What this is, and where its catalog stands."""
    ready, catalog = boot.readiness()
    return render_template("home.html", release=RELEASE, ready=ready, catalog=catalog)


@bp.get("/favicon.ico")
def favicon() -> tuple[str, int]:
    """Browsers ask for it; the pages name their own."""
    return "", 204
