"""Settings: read once, refused early, documented."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from app.errors import SettingInvalid
from app.settings import RELEASE, Settings

ROOT = Path(__file__).resolve().parents[2]


def test_every_setting_is_in_the_table() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    told = set(re.findall(r"^\| `(HEADWAY_\w+)` \|", text, re.MULTILINE))
    assert told == {f"HEADWAY_{field.name.upper()}" for field in fields(Settings)}


def test_the_defaults_in_the_table_are_the_defaults() -> None:
    text = (ROOT / "docs" / "settings.md").read_text()
    told = dict(re.findall(r"^\| `(HEADWAY_\w+)` \| `([^`]+)` \|", text, re.MULTILINE))
    defaults = Settings.from_env({})
    assert len(told) >= 7
    for name, value in told.items():
        ours = getattr(defaults, name.removeprefix("HEADWAY_").lower())
        assert Settings.from_env({name: value}) == defaults, (name, value, ours)


@pytest.mark.parametrize(
    ("said", "driver"),
    [
        ("postgres://h/x", "postgresql+psycopg"),
        ("postgresql://h/x", "postgresql+psycopg"),
        ("postgresql+psycopg2://h/x", "postgresql+psycopg2"),
        ("mysql://h/x", "mysql+pymysql"),
        ("mariadb://h/x", "mariadb+pymysql"),
        ("sqlite:////x/y.db", "sqlite"),
    ],
)
def test_an_address_without_a_driver_gets_ours(said: str, driver: str) -> None:
    assert Settings.from_env({"HEADWAY_DATABASE_URL": said}).database_url.drivername == driver


def test_our_own_name_wins_over_the_common_one() -> None:
    env = {"DATABASE_URL": "sqlite:////common", "HEADWAY_DATABASE_URL": "sqlite:////ours"}
    assert Settings.from_env(env).database_url.database == "/ours"
    del env["HEADWAY_DATABASE_URL"]
    assert Settings.from_env(env).database_url.database == "/common"


def test_what_kubernetes_sets_for_a_service_named_headway_does_no_harm() -> None:
    env = {"HEADWAY_PORT": "tcp://10.0.0.1:80", "HEADWAY_SERVICE_HOST": "10.0.0.1"}
    assert Settings.from_env(env) == Settings()


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "1e999", "x"])
def test_seconds_are_a_number_from_zero_up(value: str) -> None:
    with pytest.raises(SettingInvalid, match="HEADWAY_BOOT_WAIT_SECONDS"):
        Settings.from_env({"HEADWAY_BOOT_WAIT_SECONDS": value})


def test_two_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    settings = Settings.from_env({"DATABASE_URL": f"sqlite:///{tmp_path}/c.sqlite"})
    keys = {settings.for_flask()["SECRET_KEY"] for _ in range(3)}
    assert len(keys) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["secret_key"]


def test_the_release_is_the_one_of_pyproject() -> None:
    assert f'version = "{RELEASE}"' in (ROOT / "pyproject.toml").read_text()
