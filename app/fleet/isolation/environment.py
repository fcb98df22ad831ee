"""What a process that runs projects' code is started with: no key and no address of the catalog."""

import os
from contextlib import suppress

from flask import current_app
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from app.settings import ROOT, Settings


def arguments() -> tuple[str, str, str]:
    """Its parent's process id, the log level and the log format."""
    settings: Settings = current_app.extensions["headway"]
    return str(os.getpid()), settings.log_level, settings.log_format


def environment() -> dict[str, str]:
    """The environment variables of this process without those of Headway.

    A project's env.py may need the others: its application's settings, PATH, PYTHONPATH.
    """
    settings: Settings = current_app.extensions["headway"]
    secrets = {settings.secret_key, settings.broker_url, settings.oidc_client_secret}
    secrets |= set(settings.encryption_keys) - {""}
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("HEADWAY_")
        and value not in secrets
        and not _is_catalog(name, value, settings)
    }
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths)}


def _is_catalog(name: str, value: str, settings: Settings) -> bool:
    """True if a variable holds the URL of the catalog, as `DATABASE_URL` may."""
    if name == "DATABASE_URL" and not os.environ.get("HEADWAY_DATABASE_URL"):
        return True
    with suppress(ArgumentError):
        url, catalog = make_url(value), settings.database_url
        place = (url.get_backend_name(), url.host, url.port, url.database, url.password)
        same = (catalog.get_backend_name(), catalog.host, catalog.port)
        return place == (*same, catalog.database, catalog.password)
    return False
