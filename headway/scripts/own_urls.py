"""The databases that a project's env.py connects to by itself, as `alembic` would."""

import copy
from collections.abc import Mapping, Sequence

from sqlalchemy import URL
from sqlalchemy.exc import NoSuchModuleError

from headway.dialects.driver import display_url
from headway.errors import AddressInvalid
from headway.isolation.isolated import isolated
from headway.scripts.capture import capture_once
from headway.scripts.configuration import x_arguments
from headway.scripts.environment import raise_failed
from headway.scripts.project import ScriptProject

PLACEHOLDER = "driver://"
"""How the URL begins that Alembic's templates have."""


def own_urls(project: ScriptProject, x: Mapping[str, str]) -> tuple[URL, ...]:
    """The URLs that env.py connects to, with the project's options and these -x arguments.

    Without an env.py that of the options. No database is connected to. () if there is none; raises
    EnvironmentFailed if env.py fails though the options have a URL.
    """
    option = project.config.get_main_option("sqlalchemy.url") or ""
    is_set = bool(option) and not option.startswith(PLACEHOLDER)
    if not project.has_env_py:
        return (project.default_url,) if is_set else ()
    config = copy.copy(project.config)
    config.attributes = {}
    with isolated(project.modules):
        captured = capture_once(
            x_arguments(config, x), project.directory, None, project.modules, given=False
        )
    if found := captured.migrated or list(captured.engines):
        return tuple(found)
    if captured.failed and (is_set or not _lacks_url(captured.failed)):
        raise_failed(captured.failed, project.default_url)
    return (project.default_url,) if is_set else ()


def only_url(project: ScriptProject, found: Sequence[URL]) -> URL:
    """The one of these. Raises AddressInvalid, in words of the command line, if it is not one."""
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(map(display_url, found))
        raise AddressInvalid(f"Which database? env.py names several; give --url: {names}.")
    raise AddressInvalid(
        f"Which database? Give --url, --url-file or HEADWAY_MIGRATE_URL, or set sqlalchemy.url in "
        f"{project.config.config_file_name or 'alembic.ini'}."
    )


def _lacks_url(error: Exception) -> bool:
    """True for what an env.py of Alembic's fails with if the options have no URL."""
    if isinstance(error, KeyError):  # engine_from_config's, or an option's that it reads itself
        return error.args[0] in ("url", "sqlalchemy.url")
    return isinstance(error, NoSuchModuleError)
