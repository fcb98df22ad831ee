"""`python -m headway.flask.child APP`: boot a Flask app's databases, telling a parent how far.

APP is what `flask --app` takes. The app is loaded as a server would, so that its own line
`headway.bring_to_head(app)` is what boots it.
"""

import logging
import sys

from flask.cli import ScriptInfo

from headway.boot import child
from headway.errors import SetupInvalid
from headway.flask.databases import STATE


def _boot(name: str) -> dict[str, object]:
    app = ScriptInfo(app_import_path=name).load_app()
    state = app.extensions.get(STATE)
    if state is None or not state.booted:
        raise SetupInvalid(
            f"The app {name} does not bring its database to head when it is loaded. Call "
            "headway.bring_to_head(app) at the end of its factory."
        )
    heads = [head for one in state.booted.values() for head in one.after.heads]
    return {"heads": ",".join(heads)}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    sys.path.insert(0, "")
    sys.exit(child.run(lambda: _boot(sys.argv[1])))
