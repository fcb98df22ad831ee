"""Releases of Headway: copies of this source tree with other revisions, run as real processes."""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from alembic.script import ScriptDirectory

ROOT = Path(__file__).resolve().parent.parent
PARTS = (
    "app",
    "headway",
    "migrations",
    "wsgi.py",
    "gunicorn.conf.py",
    "pyproject.toml",
    "docs/problems",
)
(HEAD,) = ScriptDirectory(ROOT / "migrations", version_locations=[ROOT / "migrations"]).get_heads()
"""The catalog's newest revision."""
BIN = Path(sys.executable).parent
PIPES = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
BOOT = "from app import create_app; create_app()"

REVISION = '''"""{id}"""

import time

import sqlalchemy as sa
from alembic import op

revision = "{id}"
down_revision = {parent!r}
branch_labels = None
depends_on = None
{extra}

def upgrade() -> None:
    {up}


def downgrade() -> None:
    {down}
'''


@dataclass
class Release:
    """A copy of the source tree."""

    path: Path

    @property
    def migrations(self) -> Path:
        return self.path / "migrations"

    def add(
        self, id: str, parent: str | None, up: str, down: str = "pass", extra: str = ""
    ) -> Path:
        """Write a revision; statements are separated by newlines."""
        file = self.migrations / f"{id}_test.py"
        lines = {"up": "\n    ".join(up.splitlines()), "down": "\n    ".join(down.splitlines())}
        file.write_text(REVISION.format(id=id, parent=parent, extra=extra, **lines))
        return file

    def script(self, id: str) -> Path:
        """The file of a revision."""
        return next(self.migrations.glob(f"{id}_*.py"))

    def start(self, *command: str, env: dict[str, str], **more: object) -> subprocess.Popen[str]:
        """Run a command in this release; `python`, `flask` and `gunicorn` are this venv's."""
        program, *rest = command
        return subprocess.Popen(
            [str(BIN / program), *rest],
            cwd=self.path,
            env=env | {"PYTHONPATH": str(self.path)},
            text=True,
            **PIPES | more,
        )

    def run(
        self, *command: str, env: dict[str, str], timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        process = self.start(*command, env=env)
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def boot(self, env: dict[str, str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Boot once as gunicorn's master does: the words on stderr, the code of the refusal."""
        # Files, because standard input stays open: nobody reads pipes until it has ended.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            pipes = {"stdin": subprocess.PIPE, "stdout": out, "stderr": err}
            process = self.start("python", "-m", "app.processes.boot", env=env, **pipes)
            try:
                process.wait(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
            finally:
                process.communicate()
            told = [file.seek(0) or file.read() for file in (out, err)]
        return subprocess.CompletedProcess("boot", process.returncode, *told)


def make_release(path: Path) -> Release:
    """Copy the source tree."""
    for part in PARTS:
        source, target = ROOT / part, path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            # With what Python has compiled of the app: each release would do it again. Half-written
            # files come and go; revisions are edited quicker than their times tell.
            ignored = "*.pyc.*" if part in ("app", "headway") else "__pycache__"
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(ignored))
        elif source.exists():
            shutil.copy(source, target)
    return Release(path)
