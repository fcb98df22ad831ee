"""The served description, held against the served API, with a token of each role."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.engine import URL

from app.extensions import limiter
from tests.live import serve

CONFIG = Path(__file__).with_name("schemathesis.toml")
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


@pytest.fixture
def server(app: Flask, template_copy: URL) -> Iterator[str]:
    limiter.enabled = False  # thousands of requests from one address, most refused
    with serve(app) as url:
        yield url
    limiter.enabled = True


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_the_api_keeps_what_its_description_says(
    server: str, people: dict[str, tuple[int, str]], role: str, tmp_path: Path
) -> None:
    command = [
        *(str(SCHEMATHESIS), "--config-file", str(CONFIG), "run", f"{server}/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {people[role][1]}"),
        *("--max-examples", "40", "--phases", "examples,coverage,fuzzing"),
        *("--seed", "1", "--no-color", "--generation-database", "none", "--workers", "1"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=240)
    assert done.returncode == 0, done.stdout[-6000:]
