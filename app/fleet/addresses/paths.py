"""The folders that the service may read and write: each path is checked against them."""

import os
from collections.abc import Iterable
from pathlib import Path

from flask import current_app

from app.errors import OutsideRoots
from app.settings import Settings


def inside(path: str | Path, roots: Iterable[Path], *, roots_of: str = "DATA") -> Path:
    """The real path, if it is in one of these folders. Raises OutsideRoots."""
    real, allowed = Path(os.path.realpath(path)), [Path(root) for root in roots]
    if not any(real.is_relative_to(os.path.realpath(root)) for root in allowed):
        said = Path(os.path.abspath(path))  # noqa: PTH100  # where a link leads is not told
        is_link = any(said.is_relative_to(root.absolute()) for root in allowed)
        raise OutsideRoots(
            f"{said} {'leads' if is_link else 'lies'} outside the allowed folders "
            f"({', '.join(map(str, allowed))}). Move it into one of them, or ask the person who "
            f"runs Headway to add its folder to HEADWAY_{roots_of}_ROOTS."
        )
    return real


def data_folder() -> str:
    """A folder of HEADWAY_DATA_ROOTS, for examples; from the working folder on if it is below.

    `data` makes `data/*.db` and `sqlite:///data/a.db`, `/data` makes `sqlite:////data/a.db`.
    """
    folder, here = settings().data_roots[0].absolute(), Path.cwd()
    if folder == here:
        return "data"
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)


def settings() -> Settings:
    """The current app's."""
    return current_app.extensions["headway"]  # type: ignore[no-any-return]
