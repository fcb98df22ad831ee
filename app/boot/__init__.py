"""The service's own database: bound to the app, and brought to head before it serves."""

from app.boot.bind import init_app
from app.boot.head import bring_to_head
from app.boot.readiness import readiness, require_head

__all__ = ["bring_to_head", "init_app", "readiness", "require_head"]
