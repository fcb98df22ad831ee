"""What the pages of docs/ show was run as written: here, each time."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MODELS = """
import sqlalchemy as sa
metadata = sa.MetaData()
sa.Table("person", metadata, sa.Column("id", sa.Integer, primary_key=True))
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    shutil.copytree(DOCS.parent / "examples", tmp_path / "examples")
    (tmp_path / "models.py").write_text(MODELS)
    return tmp_path


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        *(("migrator", "python"), ("migrator", "sh"), ("cli", "sh")),
        *(("boot", "python"), ("boot", "sh"), ("flask", "sh")),
    ],
)
def test_every_block_runs_as_written(page: str, kind: str, place: Path) -> None:
    text = (DOCS / f"{page}.md").read_text()
    blocks = [block for found, block in BLOCK.findall(text) if found == kind]
    assert blocks
    script = "\n".join(blocks)
    command = [sys.executable, "-c", script] if kind == "python" else ["sh", "-ec", script]
    beside = str(Path(sys.executable).parent)
    env = {"PATH": f"{beside}:{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=place, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
