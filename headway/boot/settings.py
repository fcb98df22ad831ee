"""What can be said about a boot by an argument, by `app.config`, and by the environment."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headway.errors import SettingInvalid
from headway.words import Words

TRUE, FALSE = frozenset({"1", "true", "yes", "on"}), frozenset({"0", "false", "no", "off"})


def _seconds(value: Any) -> float:
    number = float(value)
    if not 0 <= number < float("inf"):
        raise ValueError
    return number


def _flag(value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in TRUE | FALSE:
        raise ValueError
    return text in TRUE


def _choice(value: Any) -> str:
    if value not in ("serve", "refuse"):
        raise ValueError
    return str(value)


def _path(value: Any) -> str:
    if value and not str(value).startswith("/"):
        raise ValueError
    return str(value)


@dataclass(frozen=True)
class Setting:
    """One line of the table in docs/flask.md."""

    name: str
    """As an argument."""
    variable: str
    """In `app.config`, and in the environment."""
    default: Any
    parse: Callable[[Any], Any]
    """Raises ValueError or TypeError for a value that cannot be used."""
    wanted: str
    """What to use instead of such a value."""


SETTINGS = (
    Setting("wait", "HEADWAY_BOOT_WAIT_SECONDS", 60.0, _seconds, "a number of seconds, 0 or more"),
    Setting(
        "lock_wait", "HEADWAY_BOOT_LOCK_SECONDS", 300.0, _seconds, "a number of seconds, 0 or more"
    ),
    Setting("migrate", "HEADWAY_MIGRATE_ON_BOOT", True, _flag, "true or false"),
    Setting("on_newer", "HEADWAY_ON_NEWER", "serve", _choice, "serve or refuse"),
    Setting("snapshot", "HEADWAY_SNAPSHOT", True, _flag, "true or false"),
    Setting("history", "HEADWAY_HISTORY", True, _flag, "true or false"),
    Setting("release", "HEADWAY_RELEASE", "", str, "a text"),
    Setting("ready_path", "HEADWAY_READY_PATH", "", _path, "a path such as /readyz"),
)
OF_FLASK = ("ready_path",)
WORDS = Words(
    settings={setting.name: setting.variable for setting in SETTINGS}
    | {"url": "HEADWAY_MIGRATE_URL"}
)
"""How messages name them."""


def resolve(
    given: Mapping[str, Any],
    config: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Each setting: as given, else by `config`, else by the environment, else its default.

    None and an empty variable count as not given. Raises SettingInvalid, which names it.
    """
    environ = os.environ if environ is None else environ
    found = {}
    for one in SETTINGS:
        value = given.get(one.name)
        if value is None:
            value = (config or {}).get(one.variable)
        if value is None:
            value = environ.get(one.variable, "").strip() or one.default
        try:
            found[one.name] = one.parse(value)
        except (ValueError, TypeError) as error:
            raise SettingInvalid(f"{one.variable} is {value!r}. Use {one.wanted}.") from error
    return found


def boot_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """What `bring_to_head` takes of the settings."""
    return {name: value for name, value in resolve(given).items() if name not in OF_FLASK}
