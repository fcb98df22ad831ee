"""Where a command finds the scripts and the database: as `alembic` does, with no option."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy.engine import URL

from headway.cli.commands import migrate
from tests.migrator.making import tables
from tests.migrator.scripts import write_env, write_project

ONLINE = """
from alembic import context
{before}
with {engine}.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""
SETTINGS = """
import os
from sqlalchemy import create_engine
URL = os.environ.get("SHOP_URL", "sqlite:///settings.db")
engine = create_engine(URL)
"""
ASYNC = """
import asyncio
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

def work(connection):
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()

async def online():
    async with create_async_engine("sqlite+aiosqlite:///async.db").connect() as connection:
        await connection.run_sync(work)

asyncio.run(online())
"""
X = "from sqlalchemy import create_engine\nurl = context.get_x_argument(True)['db']"
OPTION = (
    "from sqlalchemy import create_engine\nurl = context.config.get_main_option('sqlalchemy.url')"
)
MADE = "create_engine(url)"
PLACED = "script_location = %(here)s/migrations\n"
DRIVER = "sqlalchemy.url = driver://user:pass@localhost/dbname\n"
TOML = '[tool.alembic]\nscript_location = "%(here)s/migrations"\n'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_project(tmp_path / "migrations", 2)
    (tmp_path / "settings.py").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def headway(line: str, code: int = 0) -> str:
    done = CliRunner().invoke(migrate, shlex.split(line))
    assert done.exit_code == code, done.output
    return done.output


def online(before: str, engine: str) -> str:
    return ONLINE.format(before=before, engine=engine)


SEVERAL = online("from settings import engine", "engine") + online(
    "from sqlalchemy import create_engine", "create_engine('postgresql://u:hunter2@h/d')"
)
IN_SETTINGS = online("from settings import engine", "engine")


@pytest.mark.parametrize(
    ("files", "line", "database"),
    [
        ({"alembic.ini": f"[alembic]\n{PLACED}sqlalchemy.url = sqlite:///ini.db\n"}, "", "ini.db"),
        ({"pyproject.toml": TOML, "alembic.ini": "[alembic]\nsqlalchemy.url=sqlite:///both.db\n"}, "", "both.db"),
        ({"other.ini": "[alembic]\nscript_location = migrations\nsqlalchemy.url = sqlite:///c.db\n"}, "-c other.ini", "c.db"),
        ({"a/x.ini": "[alembic]\nscript_location = ../migrations\nsqlalchemy.url = sqlite:///a.db\n"}, "-c a/x.ini", "a.db"),
        ({"migrations/alembic.ini": "[alembic]\n", "migrations/env.py": IN_SETTINGS}, "-c migrations/alembic.ini", "settings.db"),
        ({"alembic.ini": f"[alembic]\n{PLACED}", "migrations/env.py": IN_SETTINGS}, "", "settings.db"),
        ({"alembic.ini": f"[alembic]\n{PLACED}{DRIVER}", "migrations/env.py": IN_SETTINGS}, "", "settings.db"),
        ({"alembic.ini": f"[alembic]\n{PLACED}sqlalchemy.url = sqlite:///no.db", "migrations/env.py": IN_SETTINGS}, "", "settings.db"),
        ({"pyproject.toml": TOML, "migrations/env.py": IN_SETTINGS}, "", "settings.db"),
        ({"alembic.ini": f"[alembic]\n{PLACED}", "migrations/env.py": ASYNC}, "", "async.db"),
        ({"alembic.ini": f"[alembic]\n{PLACED}", "migrations/env.py": online(X, MADE)}, "-x db=sqlite:///x.db", "x.db"),
        ({"alembic.ini": f"[alembic]\n{PLACED}[two]\n{PLACED}sqlalchemy.url = sqlite:///two.db"}, "-n two", "two.db"),
        ({"alembic.ini": f"[alembic]\n{PLACED}sqlalchemy.url = sqlite:///no.db"}, "--url sqlite:///given.db", "given.db"),
        ({"alembic.ini": f"[alembic]\n{PLACED}", "migrations/env.py": IN_SETTINGS}, "--url sqlite:///given.db", "given.db"),
        ({"alembic.ini": f"[alembic]\n{PLACED}", "url": "sqlite:///file.db\n"}, "--url-file url", "file.db"),
    ],
)  # fmt: skip
def test_it_is_the_one_that_alembic_finds(
    place: Path, files: dict[str, str], line: str, database: str
) -> None:
    for name, text in files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_text(text)
    line = f"{line} upgrade" if not line.startswith("--url") else f"upgrade {line}"
    assert "At r002" in headway(line)
    assert [file.name for file in place.glob("*.db")] == [database]
    assert "t2" in tables(URL.create("sqlite", database=str(place / database)))
    assert headway(line.replace("upgrade", "current")) == "r002 (head)\n"


@pytest.mark.parametrize(
    ("ini", "env", "code", "words"),
    [
        ("", online("from settings import url", "url"), 78, "cannot import name 'url'"),
        ("", online("import os\nos.environ['SHOP_SECRET']", "x"), 78, "SHOP_SECRET"),
        (DRIVER, online(OPTION, MADE), 2, "Which database?"),
        ("", online(X, MADE), 78, "db"),
        ("", SEVERAL, 2, "env.py names several"),
    ],
)  # fmt: skip
def test_without_one_it_says_what_to_give(
    place: Path, ini: str, env: str, code: int, words: str
) -> None:
    (place / "alembic.ini").write_text(f"[alembic]\n{PLACED}{ini}")
    write_env(place / "migrations", env)
    found = headway("upgrade", code)
    assert words in found
    assert "hunter2" not in found
    assert list(place.glob("*.db")) == []
