"""The benchmarks still fit what they measure. Their figures are made by running them."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy.engine import URL

FOLDER = Path(__file__).parent.parent / "benchmarks"


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.py")))
def test_each_finds_what_it_needs(name: str) -> None:
    assert callable(loaded(name).main)


def test_the_catalog_answers_each_question_of_its_benchmark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = loaded("catalog")
    monkeypatch.setattr(catalog, "TIMES", 2)
    found = catalog.measure(URL.create("sqlite", database=str(tmp_path / "c.sqlite")), 120)
    assert {"overview", "claim ten", "list, with a rare label"} < found.keys()
    assert all(milliseconds > 0 for milliseconds in found.values())
