"""The story of examples/tenants: every command of its README as written, and what it shows."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests.examples.services import EXAMPLES, environment
from tests.support.commands import run_forking

README = EXAMPLES / "tenants" / "README.md"
BLOCK = re.compile(r"^```(sh)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXITS = re.compile(r"^(.*?)  # exits with (\d+)$", re.MULTILINE)
WORKERS = "flask workers run --concurrency 2"


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCK.findall(README.read_text()) if found == kind]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copytree(EXAMPLES, tmp_path / "examples")
    return tmp_path


@pytest.fixture
def variables(postgresql_url: URL, place: Path) -> dict[str, str]:
    """Those of a person who has a server, in the folder of the source."""
    text = postgresql_url.set(drivername="postgresql").render_as_string(hide_password=False)
    return environment(
        TENANTS_URL=text,
        PYTHONPATH=str(EXAMPLES.parent),
        FLASK_APP="wsgi:app",
        HEADWAY_DATABASE_URL=f"sqlite:///{place}/catalog.sqlite",  # `make run` brings one to head
    )


@pytest.fixture
def workers(place: Path, variables: dict[str, str]) -> Iterator[None]:
    """The other terminal."""
    assert f"{WORKERS}\n" in blocks("")
    with (place / "workers.log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-ec", f"flask db upgrade\nexec {WORKERS}"],
            cwd=place,
            env=variables,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    yield
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(60)


def test_every_command_runs_as_written_and_answers_as_shown(
    place: Path, variables: dict[str, str], workers: None, postgresql_url: URL
) -> None:
    script = EXITS.sub(
        r"code=0; \1 || code=$?; test $code -eq \2", "\n".join(["flask db upgrade", *blocks("sh")])
    )
    done = run_forking(["sh", "-ec", script], place, variables, 900)
    assert done.returncode == 0, (done.stdout[-3000:], done.stderr[-3000:])
    assert "No worker is running" not in done.stderr
    shown = [line for text in blocks("") for line in text.splitlines() if line != WORKERS]
    assert len(shown) > 12
    for line in shown:
        assert re.sub(r" {2,}", "\t", line) in done.stdout, line
    assert at(postgresql_url) == {"public": "s0002"} | dict.fromkeys(tenants(), "t0003")


def tenants() -> list[str]:
    """All that there are in the end: one was dropped, two came."""
    made = [f"shop_{'free' if number % 5 else 'gold'}_{number:02}" for number in range(1, 51)]
    return [*(name for name in made if name != "shop_free_02"), "shop_gold_51", "shop_gold_52"]


def at(url: URL) -> dict[str, str]:
    """The revision of each schema, as its own version table says."""
    engine = sa.create_engine(url)
    query = "SELECT schemaname FROM pg_tables WHERE tablename = 'alembic_version'"
    with engine.connect() as connection:
        names = list(connection.execute(sa.text(query)).scalars())
        found = {
            name: connection.execute(
                sa.text(f'SELECT version_num FROM "{name}".alembic_version')
            ).scalar_one()
            for name in names
        }
    engine.dispose()
    return found
