"""What a command imports is what its start takes: counted in modules, not in seconds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway import Project
from tests.conftest import SECRET

SCRIPTS = Path(__file__).parents[2] / "examples" / "fastapi-app" / "migrations"
RUNS = "execution.migration", "plan", "proof", "schema"
"""What runs revisions, and builds and compares schemas."""
SEEN = (
    "import atexit, json, sys\n"
    "atexit.register(lambda: print(json.dumps(sorted(sys.modules))))\n"
    "sys.argv = {command!r}.split()\n"
    "from {module} import main\nmain()\n"
)


def imported(command: str, module: str, folder: Path, **variables: str) -> tuple[str, set[str]]:
    """What a command printed, and all modules of its process at its end."""
    done = subprocess.run(
        [sys.executable, "-c", SEEN.format(command=command, module=module)],
        cwd=folder,
        env=os.environ | variables,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, last = done.stdout.splitlines()
    return "\n".join(lines), set(json.loads(last))


def needless(modules: set[str], *names: str) -> set[str]:
    """Those of these modules, and of the ones in them, that were imported."""
    return {one for one in modules if one.startswith(names)}


def test_where_a_database_stands_is_asked_without_what_runs_revisions(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shop.db"
    Project.load(SCRIPTS).at(url).upgrade()
    shown, modules = imported(
        f"headway current --scripts {SCRIPTS} --url {url}", "headway.cli", tmp_path
    )
    assert shown == "f0002 (head)"
    runs = tuple(f"headway.{name}" for name in RUNS)
    plugin = {"headway.schema", "headway.schema.alembic_plugin"}  # which Alembic itself loads
    found = needless(modules, "rich", "sqlalchemy.orm", "sqlalchemy.ext.asyncio", *runs)
    assert not set(found) - plugin


@pytest.mark.parametrize("options", ["", " --json"])
def test_the_fleet_is_counted_without_what_changes_it(template_copy: URL, options: str) -> None:
    shown, modules = imported(
        f"flask --app wsgi databases status{options}",
        "flask.cli",
        Path(__file__).parents[2],
        HEADWAY_DATABASE_URL=template_copy.render_as_string(hide_password=False),
        HEADWAY_SECRET_KEY=SECRET,
    )
    assert "databases" in shown
    faces = "app.api", "app.web", "app.http", "app.processes"
    fleet = (f"app.fleet.{name}" for name in ("isolation", "projects", "rollouts", "webhooks"))
    libraries = "alembic", "rich", "structlog", "httpx", "cryptography", "argon2", "celery"
    runs = (f"headway.{name}" for name in RUNS)
    assert not needless(modules, *faces, *fleet, *libraries, *runs)


def test_a_command_of_the_fleet_that_stands_alone_is_listed_with_the_others(
    template_copy: URL,
) -> None:
    shown, _ = imported(
        "flask --app wsgi databases --help",
        "flask.cli",
        Path(__file__).parents[2],
        HEADWAY_DATABASE_URL=template_copy.render_as_string(hide_password=False),
        HEADWAY_SECRET_KEY=SECRET,
    )
    names = [line.split()[0] for line in shown.partition("Commands:")[2].splitlines() if line]
    assert {"list", "status", "unpin"} <= set(names)
    assert names == sorted(names)
