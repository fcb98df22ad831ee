"""The image, built and run; minutes, so only where it is asked for with CONTAINER_TESTS=1.

CONTAINER_TESTS_OPTIONS is handed on to the script.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ASKED = os.environ.get("CONTAINER_TESTS") == "1"


@pytest.mark.skipif(not ASKED, reason="takes minutes: CONTAINER_TESTS=1 asks for it")
def test_the_image_builds_and_keeps_its_promises(root: Path) -> None:
    if shutil.which("podman"):
        engine = "podman"
    elif shutil.which("docker"):
        engine = "docker"
    else:
        pytest.fail("CONTAINER_TESTS=1, but there is neither podman nor docker")
    script = root / "tests" / "container" / "build_and_boot.py"
    options = shlex.split(os.environ.get("CONTAINER_TESTS_OPTIONS", ""))
    done = subprocess.run(
        [sys.executable, script, "--engine", engine, *options], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
