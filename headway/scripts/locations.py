"""Find a script directory, and the file of options that belongs to it."""

import importlib.util
import os
import re
import tomllib
from collections.abc import Iterable
from configparser import ConfigParser
from configparser import Error as IniError
from pathlib import Path

from headway.errors import ScriptsUnreadable

# `package:folder`, and not `C:\\folder`
RESOURCE = re.compile(r"(?P<package>[A-Za-z_][\w.]+):(?P<folder>[^\\/].*)", re.DOTALL)


def is_resource(location: str) -> bool:
    """True for `package:folder`."""
    return bool(RESOURCE.fullmatch(location)) and not Path(location).is_absolute()


def folder_of(location: str) -> Path:
    """The folder of a location. Raises ScriptsUnreadable if it does not exist."""
    if (match := RESOURCE.fullmatch(location)) and is_resource(location):
        return _package_folder(match["package"], match["folder"], location)
    folder = Path(os.path.abspath(location))  # noqa: PTH100  # a link stays the name people gave
    if not folder.is_dir():
        raise ScriptsUnreadable(f"There is no script directory {folder}.")
    return _named_by_options_in(folder) or folder


def version_folder(location: str) -> Path:
    """The path of a folder of revisions, which need not exist yet."""
    if (match := RESOURCE.fullmatch(location)) and is_resource(location):
        return _package_folder(match["package"], match["folder"], location)
    return Path(os.path.abspath(location))  # noqa: PTH100  # a link stays the name people gave


def _named_by_options_in(folder: Path) -> Path | None:
    """The script directory that a project's root folder names in its options, if it does."""
    if (folder / "env.py").exists() or (folder / "versions").is_dir():
        return None
    for name in ("alembic.ini", "pyproject.toml"):
        file = folder / name
        if file.is_file() and (place := location_in(file)):
            return folder_of(absolute(place, folder))
    return None


def _package_folder(package: str, folder: str, location: str) -> Path:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    for place in (spec.submodule_search_locations or []) if spec else []:
        if (found := Path(place, *folder.replace("\\", "/").split("/"))).is_dir():
            return found
    raise ScriptsUnreadable(
        f"There is no script directory {location}: the package {package} "
        + ("has no such folder." if spec else "cannot be imported.")
    )


def revisions_of(folder: Path) -> Path:
    """The folder of a script directory's revisions: `versions`, or itself for Flask-Alembic."""
    versions = folder / "versions"
    bare = not versions.is_dir() and not (folder / "env.py").exists()
    begun = any(folder.glob("*.py")) or (folder / "script.py.mako").is_file()
    return folder if bare and begun else versions


def only_compiled(folders: Iterable[Path]) -> bool:
    """True if these folders hold compiled revisions and no source."""
    endings = {
        path.suffix
        for folder in filter(Path.is_dir, folders)
        for path in folder.iterdir()
        if path.name != "__init__.py"
    }
    return ".py" not in endings and ".pyc" in endings


def absolute(place: str, base: Path) -> str:
    """A location relative to a folder, as an absolute one."""
    return place if is_resource(place) else str(base / place)


def options_of(folder: Path) -> Path | None:
    """The file of options that names this script directory, or lies in it."""
    for parent in (folder, *folder.parents[:2]):
        for name in ("alembic.ini", "pyproject.toml"):
            file = parent / name
            if not file.is_file():
                continue
            if (parent == folder and name == "alembic.ini") or _belongs_to(file, folder):
                return file
    return None


def _belongs_to(file: Path, folder: Path) -> bool:
    place = location_in(file)
    if is_resource(place):
        place = place.replace(":", "/").replace(".", "/")
    return bool(place) and (file.parent / place).resolve() == folder.resolve()


def location_in(file: Path, section: str = "alembic") -> str:
    """The script directory that a file of options names; "" if it cannot be read."""
    here = file.parent.as_posix()
    try:
        if file.suffix == ".toml":
            text = file.read_text(encoding="utf-8")
            if "script_location" not in text:
                return ""  # as in most; to parse it is the half of what it takes to load a project
            options = tomllib.loads(text)
            place = options.get("tool", {}).get("alembic", {}).get("script_location", "")
        else:
            parser = ConfigParser({"here": here.replace("%", "%%")})
            parser.read(file, encoding="utf-8")
            place = parser.get(section, "script_location", fallback="")
    except (OSError, ValueError, IniError):
        return ""
    return str(place).replace("%(here)s", here)


def above_package(folder: Path) -> Path:
    """The first folder from here upwards that is no package."""
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder
