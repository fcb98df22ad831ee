"""Modules and folders stay small enough to be read at once."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("headway", "app/fleet")
MOST_LINES = 350
MOST_MODULES = 13


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_module_is_too_long(folder: str) -> None:
    lines = {path: len(path.read_bytes().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    assert {str(path): count for path, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("folder", FOLDERS)
def test_no_folder_has_too_many_modules(folder: str) -> None:
    folders = [ROOT / folder, *(path for path in (ROOT / folder).rglob("*") if path.is_dir())]
    counts = {
        str(path): sum(one.name != "__init__.py" for one in path.glob("*.py")) for path in folders
    }
    assert sum(counts.values())
    assert {path: count for path, count in counts.items() if count > MOST_MODULES} == {}
