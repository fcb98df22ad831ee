"""The service's own database: bound to the app, and brought to head before it serves."""

from flask import Flask

from app.boot import bind
from app.boot.adopt import adopt
from app.boot.bind import Report
from app.boot.head import bring_to_head, let_readers_be
from app.boot.readiness import behind, readiness, require_head, state
from app.extensions import alembic


def init_app(app: Flask, report: Report | None = None) -> None:
    """Bind the catalog and its migrations to an app. Opens nothing.

    `report` is told what a boot is doing; by default it is logged.
    """
    bind.bind(app, report)
    alembic.guard, alembic.adopt, alembic.settle = bind.guard, adopt, let_readers_be


__all__ = ["behind", "bring_to_head", "init_app", "readiness", "require_head", "state"]
