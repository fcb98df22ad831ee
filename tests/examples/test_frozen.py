"""`examples/desktop`, frozen: in an empty folder, with an empty environment."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.examples.desktop import EXAMPLE, Run, copied, follow, next_release, old_file, run, said

pytestmark = pytest.mark.thorough
FREEZERS = {
    "PyInstaller": ("Freeze it", "_internal/notes/migrations"),
    "cx_Freeze": ("Freeze it with cx_Freeze", "lib/notes/migrations"),
}
"""Each freezer: where the page has it, and where its program has the revisions."""


@pytest.fixture(scope="module", params=FREEZERS)
def freezer(request: pytest.FixtureRequest) -> str:
    if not find_spec(request.param):
        pytest.skip(f"{request.param} is not installed: pip install -e '.[freeze]'")
    return str(request.param)


@pytest.fixture(scope="module")
def built(freezer: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `python freeze.py` makes, as the page says. Half a minute."""
    example = copied(tmp_path_factory.mktemp("build"))
    follow(FREEZERS[freezer][0], example)
    folder = tmp_path_factory.mktemp("somewhere else") / "Prögramme [x]" / "notes"
    shutil.move(example / "dist" / "notes", folder)
    shutil.rmtree(example)
    return folder


@pytest.fixture(params=["compiled", "sources"])
def program(request: pytest.FixtureRequest, freezer: str, built: Path, tmp_path: Path) -> Path:
    """The program with its revisions compiled, and as `--sources` ships them."""
    place = FREEZERS[freezer][1]
    assert {path.suffix for path in (built / place).rglob("*.*")} == {".pyc"}
    if request.param == "compiled":
        return built / "notes"
    folder = shutil.copytree(built, tmp_path / "notes", symlinks=True)
    shutil.rmtree(folder / place)
    junk = shutil.ignore_patterns("__pycache__")
    shutil.copytree(EXAMPLE / "notes" / "migrations", folder / place, ignore=junk)
    return folder / "notes"


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "leer 100% [1]"
    folder.mkdir()
    return folder


def frozen(program: Path, folder: Path, *arguments: str) -> Run:
    return run([program, *arguments], folder, {})


def test_the_frozen_program_makes_and_fills_and_exports(program: Path, empty: Path) -> None:
    assert said(frozen(program, empty, "new", "é ☃.notes")) == "Made é ☃.notes.\n"
    said(frozen(program, empty, "add", "é ☃.notes", "Hällo ☃", "--tag", "x"))
    said(frozen(program, empty, "add", "é ☃.notes", "Bye"))
    assert said(frozen(program, empty, "list", "é ☃.notes")) == "1 Hällo ☃ #x\n2 Bye\n"
    said(frozen(program, empty, "export", "é ☃.notes", "x.notes", "--tag", "x"))
    assert said(frozen(program, empty, "list", "x.notes")) == "1 Hällo ☃ #x\n"
    assert "At head" in said(frozen(program, empty, "info", "x.notes"))
    assert sorted(path.name for path in empty.iterdir()) == ["x.notes", "é ☃.notes"]


def test_the_frozen_program_brings_an_old_file_up_to_date(program: Path, empty: Path) -> None:
    old_file(empty / "old é.notes")
    done = frozen(program, empty, "list", "old é.notes")
    assert said(done) == "1 Water the plants #garden #home\n2 Release 3 ☃ #work\n3 Sleep\n"
    (copy,) = empty.glob("*.n0001.snapshot")
    assert copy.name in done.stderr


def test_the_frozen_program_refuses_a_newer_file(
    program: Path, empty: Path, tmp_path: Path
) -> None:
    from headway import Project

    newer = next_release(tmp_path) / "notes" / "migrations"
    Project.load(newer).at(empty / "new.notes").create()
    before = (empty / "new.notes").read_bytes()
    told = said(frozen(program, empty, "list", "new.notes"), 1)
    assert told == "new.notes was saved by a newer release of Notes: open it with that one.\n"
    assert (empty / "new.notes").read_bytes() == before
    assert [path.name for path in empty.iterdir()] == ["new.notes"]
