"""`python -m app.processes.boot`: bring the catalog to head, telling a parent how far it is."""

import sys
from collections.abc import Mapping

from flask import Flask

from app import boot, logs
from app.settings import Settings
from headway.boot import child
from headway.exit_codes import Exit


def main() -> Exit:
    """Boot once; the exit code."""
    return child.run(_boot)


def _boot() -> Mapping[str, object]:
    settings = Settings.from_env()
    logs.configure(settings)
    # The catalog alone, without the faces: it is there in half the time, and serves nothing.
    app = Flask("app")
    app.config.from_mapping(settings.for_flask())
    app.extensions["headway"] = settings
    boot.init_app(app)
    seen = boot.bring_to_head(app)
    return {"heads": ",".join(seen.heads), "workers": settings.embedded}


if __name__ == "__main__":
    sys.exit(main())
