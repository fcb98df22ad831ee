"""Freeze notes into one folder with PyInstaller: `python freeze.py [FOLDER]`.

PyInstaller collects what is imported. Revisions are not: Alembic reads them as files. So they go
along as data, in the place that they have in the package, and what they import is named here.
"""

import argparse
import ast
import py_compile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import PyInstaller.__main__

HERE = Path(__file__).resolve().parent
MIGRATIONS = HERE / "notes" / "migrations"
NEVER_NEEDED = ("app", "headway.cli", "apiflask", "flask", "psycopg", "pymysql")


def freeze(into: Path, *, sources: bool = False) -> Path:
    """Build the program below a folder; the folder that it is in."""
    with tempfile.TemporaryDirectory() as work:
        data = list(MIGRATIONS.rglob("*.py"))
        if not sources:
            data = [compiled(file, Path(work, "data")) for file in data]
        start = MIGRATIONS if sources else Path(work, "data")
        options = [f"--add-data={file}:{place(file.relative_to(start))}" for file in data]
        options += [f"--hidden-import={name}" for name in sorted(imported())]
        options += [f"--exclude-module={name}" for name in NEVER_NEEDED]
        PyInstaller.__main__.run(
            [
                *("--name=notes", "--onedir", "--noconfirm", "--log-level=WARN"),
                *(f"--distpath={into}", f"--workpath={work}", f"--specpath={work}"),
                *(f"--paths={HERE}", *options),
                str(HERE / "notes" / "__main__.py"),
            ]
        )
    return into / "notes"


def compiled(file: Path, into: Path) -> Path:
    """A revision or env.py without its source, as Alembic takes it where there is no other."""
    target = (into / file.relative_to(MIGRATIONS)).with_suffix(".pyc")
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH  # there will be nothing to check
    py_compile.compile(
        str(file), str(target), dfile=file.name, doraise=True, invalidation_mode=unchecked
    )
    return target


def place(file: Path) -> Path:
    """Where it goes in the frozen program."""
    return Path("notes", "migrations", file.parent)


def imported() -> Iterator[str]:
    """The modules that revisions and env.py import."""
    for file in MIGRATIONS.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Freeze notes into one folder.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path("dist"))
    parser.add_argument("--sources", action="store_true", help="ship revisions as they are written")
    given = parser.parse_args()
    print(f"Made {freeze(given.folder.absolute(), sources=given.sources)}.")
