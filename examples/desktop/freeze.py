"""Freeze notes into one folder: `python freeze.py [FOLDER]`, with PyInstaller or cx_Freeze.

Both collect what is imported. Revisions are not: Alembic reads them as files. So they go along as
data, in the place that they have in the package, and what they import is named here.
"""

import argparse
import ast
import py_compile
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
MIGRATIONS = HERE / "notes" / "migrations"
NEVER_NEEDED = ("app", "headway.cli", "apiflask", "flask", "psycopg", "pymysql")


def freeze(into: Path, *, sources: bool = False, with_cx_freeze: bool = False) -> Path:
    """Build the program below a folder; the folder that it is in."""
    with tempfile.TemporaryDirectory() as work:
        data = list(MIGRATIONS.rglob("*.py"))
        if not sources:
            data = [compiled(file, Path(work, "data")) for file in data]
        start = MIGRATIONS if sources else Path(work, "data")
        placed = {file: place(file.relative_to(start)) for file in data}
        if with_cx_freeze:
            by_cx_freeze(into / "notes", placed)
        else:
            by_pyinstaller(into, Path(work), placed)
    return into / "notes"


def by_pyinstaller(into: Path, work: Path, data: Mapping[Path, Path]) -> None:
    """`data`: files, and the folders of the program that they go to."""
    import PyInstaller.__main__

    options = [f"--add-data={file}:{folder}" for file, folder in data.items()]
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


def by_cx_freeze(into: Path, data: Mapping[Path, Path]) -> None:
    """The same, with what it keeps its packages in: `lib`."""
    import cx_Freeze

    start = HERE / "notes" / "__main__.py"
    cx_Freeze.Freezer(
        [cx_Freeze.Executable(start, target_name="notes")],
        path=[str(HERE), *sys.path],
        # SQLAlchemy loads its dialects by name.
        includes=[*sorted(set(imported())), "sqlalchemy.dialects.sqlite"],
        excludes=list(NEVER_NEEDED),
        include_files=[(file, Path("lib", folder, file.name)) for file, folder in data.items()],
        target_dir=into,
        silent=2,
    ).freeze()


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
    parser.add_argument("--cx-freeze", action="store_true", help="with that, not with PyInstaller")
    given = parser.parse_args()
    folder = given.folder.absolute()
    print(f"Made {freeze(folder, sources=given.sources, with_cx_freeze=given.cx_freeze)}.")
