"""Headway keeps every database at head: its own on boot, and every other it is given."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from flask import Flask

    from app.settings import Settings


def create_app(settings: "Settings | None" = None, *, migrate: bool | None = None) -> "Flask":
    """Put the parts together and bring the catalog to head, in this order.

    `migrate` forces the boot on or off; by default it happens unless a management command
    (`flask db …`, anything but `flask run`) is what loads the app. The boot raises the
    HeadwayError that says why the catalog cannot be served.
    """
    from flask import Flask

    from app import catalog, cli, logs
    from app.settings import Settings
    from headway.dialects import ambient
    from headway.flask import groups

    with groups.refusals():
        settings = settings or Settings.from_env()
        logs.configure(settings)
        served = not groups.is_command_lookup()
        app = _with_description() if served else Flask(__name__)
        app.config.from_mapping(settings.for_flask())
        app.extensions["headway"] = settings
        ambient.refuse(but=settings.database_url)
        for part in (catalog, *((_boot(),) if served or migrate else ()), cli):
            part.init_app(app)
        for part in _faces() if served else ():
            part.init_app(app)
        if migrate if migrate is not None else not groups.is_management_command():
            _boot().bring_to_head(app)
            cli.invite(app)
    return app


def _with_description() -> "Flask":
    from apiflask import APIFlask

    from app.settings import RELEASE

    return APIFlask(
        __name__,
        title="Headway",
        version=RELEASE,
        docs_path=None,
        json_errors=False,
        spec_path="/api/v1/openapi.json",
    )


def _boot() -> "ModuleType":
    """What migrates the catalog. A command asks for it when it has to: app.cli.groups."""
    from app import boot

    return boot


def _faces() -> "tuple[ModuleType, ...]":
    """The API and the pages. A command does without them, and so starts a third faster."""
    from app import api, web

    return api, web
