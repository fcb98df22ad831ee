"""Alembic's view of a script directory, with its errors translated."""

import contextlib
import tomllib
import traceback
import warnings
from collections.abc import Iterator, Sequence
from configparser import Error as IniError
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from alembic.config import Config
from alembic.script import Script as AlembicScript
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError, to_tuple

from headway.error_text import plain
from headway.errors import HeadwayError, ScriptsUnreadable
from headway.scripts.script import AUTOCOMMIT, Revision, Script, checksum


class Directory(ScriptDirectory):
    """Alembic's ScriptDirectory, which names the revision that cannot be imported."""

    def _load_revisions(self) -> Iterator[AlembicScript]:  # FRAGILE: private in Alembic
        with _import_errors(*(self.version_locations or [self.dir])):
            yield from super()._load_revisions()


def open_directory(
    config: Config,
    folder: Path,
    version_folders: Sequence[Path],
    *,
    sourceless: bool,
    recursive: bool,
) -> ScriptDirectory:
    """Alembic's view of a script directory, with the options of its configuration."""
    option = config.get_alembic_option
    with alembic_errors(), without_deprecation_warnings():
        slug = option("truncate_slug_length")
        return Directory(
            str(folder),
            file_template=option("file_template", "%(rev)s_%(slug)s"),
            truncate_slug_length=int(slug) if slug else None,
            sourceless=sourceless,
            output_encoding=option("output_encoding", "utf-8"),
            version_locations=[str(place) for place in version_folders],
            timezone=option("timezone"),
            hooks=config.get_hooks_list(),
            recursive_version_locations=recursive,
            messaging_opts={"quiet": True},
        )


def imported(paths: Sequence[str]) -> Iterator[Script]:
    """Read revision files by importing them, as Alembic does.

    Raises ScriptsUnreadable if one cannot be imported.
    """
    if not paths:
        return
    directory: Any = SimpleNamespace(sourceless=False)  # all that it asks of one
    for path in paths:
        with alembic_errors(), _import_errors(path):
            script = AlembicScript._from_path(directory, path)  # noqa: SLF001  # FRAGILE
            if script is not None:
                yield _script(script)


def compiled(script: AlembicScript) -> Script:
    """A revision that Alembic has read from a compiled file."""
    return replace(_script(script), depends_on=tuple(script._resolved_dependencies))  # noqa: SLF001


def revision_of(alembic: AlembicScript, script: Script) -> Revision:
    """A revision as people read it: from Alembic's view of its file, and from ours."""
    return Revision(
        id=script.id,
        parents=script.parents,
        depends_on=script.depends_on,
        labels=tuple(sorted(alembic.branch_labels)),
        message=alembic.doc or "",
        path=script.path,
        checksum=script.checksum,
    )


def _script(script: AlembicScript) -> Script:
    code = Path(script.path).read_bytes()
    if not isinstance(script.revision, str):
        raise ScriptsUnreadable(
            f"{script.path} has the revision {script.revision!r}, but an id has to be a string. "
            "Quote it."
        )
    return Script(
        id=script.revision,
        parents=tuple(script._versioned_down_revisions),  # noqa: SLF001  # FRAGILE
        depends_on=to_tuple(script.dependencies, default=()),
        labels=tuple(script._orig_branch_labels or ()),  # noqa: SLF001  # FRAGILE
        path=script.path,
        checksum=checksum(code),
        autocommits=AUTOCOMMIT in code,
    )


@contextlib.contextmanager
def _import_errors(*places: str) -> Iterator[None]:
    """Raise ScriptsUnreadable with the revision that cannot be imported, and why."""
    try:
        yield
    except (CommandError, HeadwayError):
        raise
    except RevisionError as error:  # of an id or a label that Alembic does not take
        raise ScriptsUnreadable(f"{_broken_at(error, places)} cannot be used: {error}.") from error
    except (Exception, SystemExit) as error:
        raise ScriptsUnreadable(
            f"{_broken_at(error, places)} cannot be imported: {type(error).__name__}: "
            f"{plain(error)}. Fix it, or install what it needs where Headway runs."
        ) from error


def _broken_at(error: BaseException, places: tuple[str, ...]) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return error.filename
    if len(places) == 1 and places[0].endswith(".py"):
        return places[0]
    through = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return next((file for file in through if file.startswith(places)), f"A revision in {places[0]}")


@contextlib.contextmanager
def without_deprecation_warnings() -> Iterator[None]:
    """Ignore Alembic's deprecation warnings about a project's options."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextlib.contextmanager
def alembic_errors() -> Iterator[None]:
    """Translate Alembic's errors about scripts and options into ScriptsUnreadable."""
    try:
        yield
    except CommandError as error:
        raise ScriptsUnreadable(f"{error}.") from error
    except (IniError, tomllib.TOMLDecodeError) as error:
        message = " ".join(str(error).split())
        raise ScriptsUnreadable(f"Alembic's options cannot be read: {message}.") from error
