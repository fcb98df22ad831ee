"""Alembic's own view of a script directory, which fails in words."""

import contextlib
import tomllib
import traceback
import warnings
from collections.abc import Iterator
from configparser import Error as IniError
from pathlib import Path

from alembic.script import Script as AlembicScript
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from app.errors import ScriptsUnreadable
from app.migrator.scripts import AUTOCOMMIT, Script, checksum


class Directory(ScriptDirectory):
    """Alembic's, which says in words that a revision cannot be imported."""

    def _load_revisions(self) -> Iterator[AlembicScript]:  # FRAGILE: private in Alembic
        try:
            yield from super()._load_revisions()
        except CommandError:
            raise
        except Exception as error:
            raise ScriptsUnreadable(
                f"{self._broken_at(error)} cannot be imported: {type(error).__name__}: {error}. "
                "Mend it, or install what it needs where Headway runs."
            ) from error

    def _broken_at(self, error: Exception) -> str:
        if isinstance(error, SyntaxError) and error.filename:
            return error.filename
        through = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        own = [file for file in through if file.startswith(tuple(self.version_locations or ()))]
        return next(iter(own), f"A revision in {self.dir}")


def compiled(script: AlembicScript) -> Script:
    """A revision that only Alembic can read: one without its source."""
    code = Path(script.path).read_bytes()
    return Script(
        id=script.revision,
        parents=tuple(script._versioned_down_revisions),  # noqa: SLF001  # FRAGILE
        depends_on=tuple(script._resolved_dependencies),  # noqa: SLF001  # FRAGILE
        path=script.path,
        checksum=checksum(code),
        autocommits=AUTOCOMMIT in code,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without Alembic's advice on options of years ago: it is the project's business."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextlib.contextmanager
def alembics_words() -> Iterator[None]:
    """Say what Alembic refuses as an error of ours."""
    try:
        yield
    except CommandError as error:
        raise ScriptsUnreadable(f"{error}.") from error
    except (IniError, tomllib.TOMLDecodeError) as error:
        said = " ".join(str(error).split())
        raise ScriptsUnreadable(f"Alembic's options cannot be read: {said}.") from error
