"""A project's options: its `alembic.ini` or `pyproject.toml` as Alembic's configuration."""

import copy
from argparse import Namespace
from collections.abc import Callable, Mapping
from configparser import Error as IniError
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import URL

from headway.errors import ScriptsUnreadable
from headway.scripts.locations import location_in, options_of


def configuration(folder: Path, ini: str | None, section: str = "alembic") -> Config:
    """The options of a script directory: from `ini`, or from the file that belongs to the folder.

    As for `alembic`, those of a pyproject.toml and of the alembic.ini beside it are one set.
    `section` is that of an ini file. Raises ScriptsUnreadable if the file or the section is missing
    or cannot be read.
    """
    file = Path(ini).absolute() if ini else options_of(folder)
    if file and not file.is_file():
        raise ScriptsUnreadable(f"There is no {file}.")
    toml = file if file and file.suffix == ".toml" else None
    if toml:
        beside = toml.with_name("alembic.ini")
        file = beside if beside.is_file() else None
    elif file and "[tool.alembic]" in _text(file.with_name("pyproject.toml")):
        toml = file.with_name("pyproject.toml")
    config = Config(file_=file, toml_file=toml, ini_section=section)
    try:
        if file and section != "alembic" and not config.file_config.has_section(section):
            raise ScriptsUnreadable(f"There is no section [{section}] in {file}.")
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        # Alembic takes a `%` in the folder's name for a reference to another option.
        here = config.file_config.get("DEFAULT", "here", raw=True, fallback="")
        config.file_config.set("DEFAULT", "here", here.replace("%", "%%"))
    except IniError as error:
        raise ScriptsUnreadable(f"{file} cannot be read: {error}.") from error
    return config


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def base_folder(script_folder: Path, config: Config) -> Path:
    """The folder that relative paths in the options start from.

    Alembic takes the working directory. People run it where the file of options is, or, where
    that file lies among the scripts, in the folder from which it names them.
    """
    file = config.config_file_name or config.toml_file_name
    if not file:
        return script_folder.parent
    folder = Path(file).absolute().parent
    if folder != script_folder:
        return folder
    parts = Path(location_in(Path(file))).parts
    inside = parts and script_folder.parts[-len(parts) :] == parts
    return Path(*script_folder.parts[: -len(parts)]) if inside else script_folder.parent


def config_for(config: Config, url: URL, x: Mapping[str, str] | None = None) -> Config:
    """A copy of the configuration for one database, as its env.py sees it."""
    own = copy.copy(config)
    own.attributes = {}
    own.file_config = copy.deepcopy(config.file_config)
    rendered = url.render_as_string(hide_password=False)
    own.set_main_option("sqlalchemy.url", rendered.replace("%", "%%"))
    return x_arguments(own, x or {})


def x_arguments(config: Config, x: Mapping[str, str], target: str = "heads") -> Config:
    """The configuration as seen with these -x arguments.

    Without any as in a program that calls `alembic.command`, which has no command line; with them,
    which only a command line can give, as on one.
    """
    if not x:
        return config
    given = [f"{name}={value}" for name, value in x.items()]
    config.cmd_opts = Namespace(
        config=[config.config_file_name or "alembic.ini"],
        name=config.config_ini_section,
        x=given,
        raiseerr=True,
        quiet=True,
        verbose=False,
        cmd=(command.upgrade, ["revision"], ["sql", "tag"]),
        revision=target,
        sql=False,
        tag=None,
    )
    return config


class XReads:
    """What an env.py reads of the -x arguments while it runs."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] | None = None
        """Those that it asks for by name; None if it reads none of them."""

    def note(self, name: str | None = None) -> None:
        """Note that it reads them, or this one."""
        known = self.names or ()
        self.names = known if name is None or name in known else (*known, name)

    def watch(self, context: EnvironmentContext) -> None:
        """Note what is read by `get_x_argument`, or from the options of the command line."""
        config, ask = context.config, context.get_x_argument

        def read(own: Config) -> Any:
            self.note()
            return vars(own).get("cmd_opts")

        def write(own: Config, value: Any) -> None:
            vars(own)["cmd_opts"] = value

        def get_x_argument(*args: Any, **kwargs: Any) -> Any:
            found = ask(*args, **kwargs)
            return _Noted(found, self.note) if isinstance(found, dict) else found

        kind = type(config)
        config.__class__ = type(kind.__name__, (kind,), {"cmd_opts": property(read, write)})
        context.get_x_argument = get_x_argument  # type: ignore[method-assign]


class _Noted(dict[str, Any]):
    """The arguments as a dictionary, which tells what it is asked for."""

    def __init__(self, found: Mapping[str, Any], note: Callable[[str], None]) -> None:
        super().__init__(found)
        self._note = note

    def __getitem__(self, name: str) -> Any:
        self._note(name)
        return super().__getitem__(name)

    def __contains__(self, name: object) -> bool:
        self._note(str(name))
        return super().__contains__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As that of a dictionary."""
        self._note(name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        """As that of a dictionary."""
        self._note(name)
        return super().pop(name, *default)
