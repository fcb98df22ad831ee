"""What a revision reads beside its arguments keeps it from being replayed."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from app.migrator import Project
from tests.migrator.reference import rows
from tests.migrator.scripts import write_revision

T = 'op.create_table("t", sa.Column("n", sa.String(200)))'
INSERT = "op.execute(f\"INSERT INTO t VALUES ('{value}')\")"
CONFIG = "from alembic import context"

READS: dict[str, tuple[list[str], str]] = {
    "the URL": (["value = context.config.get_main_option('sqlalchemy.url')"], CONFIG),
    "an attribute of the options": (["value = context.config.attributes.get('tenant')"], CONFIG),
    "a section of the options": (["value = context.config.get_section('x', {})"], CONFIG),
    "os.environ": (["value = os.environ.get('TENANT')"], "import os"),
    "os.getenv, imported": (["value = getenv('TENANT')"], "from os import getenv"),
    "in os.environ": (["value = 'TENANT' in os.environ"], "import os"),
    "time.time": (["value = time.time()"], "import time"),
    "datetime.now": (["value = datetime.now().year"], "from datetime import datetime"),
    "date.today": (["value = datetime.date.today()"], "import datetime"),
    "utcnow": (["value = datetime.datetime.utcnow().year"], "import datetime"),
    "a date at import": (["value = TODAY"], "import datetime\nTODAY = datetime.date.today()"),
    "strftime": (["value = time.strftime('%Y')"], "import time"),
    "the time zone": (["value = time.timezone"], "import time"),
    "random": (["value = random.randrange(1) + 1"], "import random"),
    "random, imported within": (["from random import choice", "value = choice('a')"], ""),
    "uuid4": (["value = str(uuid.uuid4())[:0]"], "import uuid"),
    "uuid1": (["value = str(uuid.uuid1())[:0]"], "import uuid"),
    "secrets": (["import secrets", "value = secrets.token_hex(4)[:0]"], ""),
    "urandom": (["value = os.urandom(4)[:0].hex()"], "import os"),
    "secret at import": (["value = KEY"], "import secrets\nKEY = secrets.token_hex(4)"),
    "a list of files": (["value = len(os.listdir('/'))"], "import os"),
    "whether a file is there": (
        ["value = Path('/tmp').exists()"],
        "from pathlib import Path",
    ),
    "the network": (["value = socket.gethostname()"], "import socket"),
    "the machine": (["value = platform.node()"], "import platform"),
    "another program": (
        ["value = subprocess.run(['true']).returncode"],
        "import subprocess",
    ),
    "the process": (["value = os.getpid()"], "import os"),
    "the folder": (["value = os.getcwd()"], "import os"),
    "the folder, as a path": (["value = Path.cwd()"], "from pathlib import Path"),
    "the arguments": (["value = len(sys.argv)"], "import sys"),
    "the user": (["value = getpass.getuser()"], "import getpass"),
    "a context variable": (
        ["value = TENANT.get('x')"],
        "import contextvars\nTENANT = contextvars.ContextVar('tenant')",
    ),
    "a counter": (
        ["global N", "N += 1", "value = 'x'"],
        "N = 0",
    ),
    "a counter of itertools": (["value = next(N) * 0"], "import itertools\nN = itertools.count()"),
    "what an earlier run left": (
        ["SEEN.append('x')", "value = len(SEEN)"],
        "SEEN = []",
    ),
    "what an earlier run found": (
        ["if not SEEN: SEEN.append(os.environ.get('TENANT'))", "value = SEEN[0]"],
        "import os\nSEEN = []",
    ),
    "the connection": (
        ["bind = op.get_bind()", "value = bind.engine.url.database if bind else 'a'"],
        "",
    ),
    "whether there is a connection": (["value = context.is_offline_mode() and 'x'"], CONFIG),
    "a module's variable": (["value = settings.tenant"], "import settings"),
    "a module's variable, imported": (["value = tenant"], "from settings import tenant"),
    "an object of the application": (["value = current.tenant"], "from settings import current"),
    "a class of the application": (["value = Current.tenant"], "from settings import Current"),
    "a function of the application": (["value = find()"], "from settings import find"),
    "a clock of somebody's": (["value = Day.today()"], "from settings import Day"),
    "a thread": (
        [
            "found = []",
            "thread = threading.Thread(target=lambda: found.append(1))",
            "thread.start()",
            "thread.join()",
            "value = found[0]",
        ],
        "import threading",
    ),
    "compiled text": (["value = eval('1')"], ""),
    "its own address": (["value = id(op) * 0"], ""),
}

SETTINGS = """
import datetime, os
tenant = "x"
class Current:
    tenant = "x"
current = Current()
def find():
    return tenant
class Day(datetime.date):
    @classmethod
    def today(cls):
        return cls(2026, 1, 1)
"""


@pytest.fixture(autouse=True)
def _tenants() -> Iterator[None]:
    os.environ["TENANT"] = "x"
    yield
    del os.environ["TENANT"]


def write(folder: Path, up: list[str], head: str) -> Project:
    """Two revisions; the second one reads something."""
    (folder.parent / "settings.py").write_text(SETTINGS)
    write_revision(folder, "first", None, [T])
    write_revision(folder, "second", "first", [*up, INSERT], head=f"\n{head}\n")
    return Project.load(folder)


@pytest.mark.parametrize("name", READS)
def test_what_a_revision_reads_is_never_replayed(
    name: str, scripts: Path, fresh_url: Callable[[str], URL]
) -> None:
    project = write(scripts, *READS[name])
    one, other = (project.at(fresh_url("sqlite")) for _ in range(2))
    for database in (one, other):
        database.upgrade("first")
    assert not one.upgrade().replayed
    assert other.plan().replays is False
    why = other.plan().why
    assert "the moment" in why or "without a database" in why
    assert not other.upgrade().replayed
    assert other.status().current == ("second",)
