"""What the container's files say, and the tools that judge them."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def graceful_seconds() -> int:
    """How long gunicorn lets requests end; read and not run, for running it changes the environment."""
    text = (ROOT / "gunicorn.conf.py").read_text()
    found = re.search(r"^graceful_timeout = (\d+)", text, re.MULTILINE)
    assert found
    return int(found[1])


@pytest.fixture(scope="session")
def tool() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a tool of this environment or of this machine; a skip says how to get a missing one."""

    def run(
        name: str, *arguments: str | Path, how_to_get: str, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        beside = shutil.which(name, path=str(Path(sys.executable).parent))
        if not (found := beside or shutil.which(name)):
            pytest.skip(f"{name} is missing: {how_to_get}")
        return subprocess.run([found, *arguments], capture_output=True, text=True, **options)

    return run
