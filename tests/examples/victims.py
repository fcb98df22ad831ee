"""The programs of `examples/`, killed while they boot: what the next start makes of it."""

import shutil
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.examples.services import EXAMPLES, PATIENCE, environment

FLASK = ("with_flask_migrate", "with_flask_alembic", "with_scripts")
BOOTS = {name: f"from app.{name} import create_app as boot" for name in FLASK} | {
    "fastapi": "import lifespan as l\nboot = lambda: l.bring_to_head(l.database.project, l.engine)"
}
"""What each imports first, and then calls."""
PROGRAMS = (*BOOTS, "headway boot")
REVISIONS = ("f0001", "f0002", "f0003")
ROWS = 150
SLOW = f'''"""several statements, and time between them"""

import time

import sqlalchemy as sa
from alembic import op

revision = "f0003"
down_revision = "f0002"


def upgrade() -> None:
    stock = op.create_table("stock", sa.Column("id", sa.Integer, primary_key=True))
    for first in range(0, {ROWS}, 50):
        op.bulk_insert(stock, [{{"id": first + n}} for n in range(1, 51)])
        time.sleep(0.05)
    op.add_column("item", sa.Column("weight", sa.Integer))
    time.sleep(0.05)
    op.create_index("ix_item_name", "item", ["name"])
    time.sleep(0.05)


def downgrade() -> None:
    op.drop_index("ix_item_name", "item")
    op.drop_column("item", "weight")
    op.drop_table("stock")
'''


class Victim:
    """A copy of a program in this folder, with one revision more."""

    def __init__(self, program: str, folder: Path) -> None:
        example = "flask-app" if program in FLASK else "fastapi-app"
        junk = shutil.ignore_patterns("__pycache__", "instance", "*.db*")
        self.program = program
        self.folder = shutil.copytree(EXAMPLES / example, folder / program, ignore=junk)
        self.revision = self.folder / "migrations" / "versions" / "f0003_stock.py"
        self.revision.write_text(SLOW)

    def start(self, url: URL) -> "subprocess.Popen[str]":
        """Start it. When this returns it has its modules, and boots."""
        command = ["headway", "boot", "--scripts", "migrations", "true"]
        if self.program in BOOTS:
            code = f"{BOOTS[self.program]}\nprint('imported', flush=True)\nboot()"
            command = [sys.executable, "-c", code]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment(url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self.program in BOOTS:
            assert process.stdout
            process.stdout.readline()
        return process

    def boot(self, url: URL) -> tuple[int, str, float]:
        """Let it boot to its end: the exit code, the last line of its errors, the seconds."""
        process, began = self.start(url), time.monotonic()
        _, errors = process.communicate(timeout=PATIENCE)
        last = (errors.strip().splitlines() or [""])[-1]
        return process.returncode, last, time.monotonic() - began

    def kill(self, url: URL, moment: float) -> bool:
        """Kill it after so many seconds; False if it had ended before."""
        process = self.start(url)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        ended = process.poll() is not None
        process.kill()
        process.communicate()
        return not ended

    def repair(self, url: URL) -> None:
        """What the refusal of a torn database says to do."""
        command = ["headway", "repair", "--scripts", "migrations", "--yes"]
        if self.program in FLASK:
            factory = f"app.{self.program}:create_app()"
            command = ["flask", "--app", factory, "headway", "repair", "--yes"]
        subprocess.run(command, cwd=self.folder, env=environment(url), capture_output=True)

    def after_kill(self, url: URL, moment: float) -> list[str]:
        """Kill it, and start it again: what is wrong then; `repaired` where it had to be."""
        found = [] if self.kill(url, moment) else ["had ended"]
        code, last, _ = self.boot(url)
        if code and url.get_backend_name() == "mysql" and "repair" in last:
            self.repair(url)
            found = ["repaired"]
            code, last, _ = self.boot(url)
        if code:
            return [last]
        return wrong_at_head(url) or found


def wrong_at_head(url: URL) -> list[str]:
    """What is not there exactly once."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.connect() as connection:
        versions = connection.scalars(sa.text("SELECT version_num FROM alembic_version")).all()
        query = "SELECT revision FROM headway_history WHERE outcome = 'succeeded' AND action = 'upgrade'"
        applied = Counter(connection.scalars(sa.text(query)))
        inspector = sa.inspect(connection)
        columns = {t: [c["name"] for c in inspector.get_columns(t)] for t in ("item", "stock")}
        indexes = [one["name"] for one in inspector.get_indexes("item")]
        rows = connection.scalar(sa.text("SELECT count(*) FROM stock"))
    found = {
        "versions": (list(versions), ["f0003"]),
        "history": (applied, Counter(REVISIONS)),
        "columns": (columns, {"item": ["id", "name", "price", "weight"], "stock": ["id"]}),
        "indexes": (indexes, ["ix_item_name"]),
        "rows": (rows, ROWS),
    }
    return [f"{what} {is_}" for what, (is_, wanted) in found.items() if is_ != wanted]
