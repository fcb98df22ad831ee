"""Settings: read once, refused early, documented."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from app.settings import RELEASE, Settings
from headway.errors import SettingInvalid

ROOT = Path(__file__).resolve().parents[2]


def test_hosts_are_named_one_by_one() -> None:
    read = Settings.from_env({"HEADWAY_DATABASE_HOSTS": "h, *.example.org:5432,[::1],/run/pg"})
    assert read.database_hosts == ("h", "*.example.org:5432", "[::1]", "/run/pg")
    for wrong in ("a b", "postgresql://h/x", "h:port", "u@h", "::1"):
        with pytest.raises(SettingInvalid, match="HEADWAY_DATABASE_HOSTS"):
            Settings.from_env({"HEADWAY_DATABASE_HOSTS": wrong})


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


KEY, OTHER = "A" * 43 + "=", "_" * 42 + "8="


def test_the_fleet_s_settings_are_read() -> None:
    env = {
        "HEADWAY_BROKER_URL": " amqp://u:p@a:5672//;amqp://u:p@b ",
        "HEADWAY_WORKERS": "0",
        "HEADWAY_PROJECT_ROOTS": "/projects:/more",
        "HEADWAY_DATA_ROOTS": "/data:",
        "HEADWAY_ENCRYPTION_KEYS": f"{KEY}, {OTHER},",
    }
    settings = Settings.from_env(env)
    assert settings.broker_url == "amqp://u:p@a:5672//;amqp://u:p@b"
    assert settings.workers == 0
    assert settings.project_roots == (Path("/projects"), Path("/more"))
    assert settings.data_roots == (Path("/data"),)
    assert settings.encryption_keys == settings.fernet_keys() == (KEY, OTHER)


def test_without_settings_the_fleet_is_embedded_and_stays_in_this_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.from_env({})
    assert (settings.broker_url, settings.encryption_keys) == (None, ())
    assert 1 <= settings.workers <= 4
    assert settings.project_roots == (tmp_path / "projects",)
    assert settings.data_roots == (tmp_path / "data",)


@pytest.mark.parametrize(
    ("projects", "data"),
    [
        ("/srv/a", str(ROOT)),
        ("/srv/a", str(ROOT / "app" / "models")),
        (str(ROOT / "migrations"), "/srv/a"),
        ("/srv/a", "/"),
        ("/", "/srv/a"),
    ],
)
def test_no_member_can_be_written_where_our_code_is_run_from(projects: str, data: str) -> None:
    env = {"HEADWAY_PROJECT_ROOTS": projects, "HEADWAY_DATA_ROOTS": data}
    with pytest.raises(SettingInvalid, match=r"HEADWAY_\w+_ROOTS .* folders of its own"):
        Settings.from_env(env)


def test_roots_in_the_clone_beside_the_code_are_allowed() -> None:
    env = {
        "HEADWAY_PROJECT_ROOTS": str(ROOT / "examples"),
        "HEADWAY_DATA_ROOTS": str(ROOT / "data"),
    }
    assert Settings.from_env(env).data_roots == (ROOT / "data",)


@pytest.mark.parametrize(
    "url",
    ["redis://h", "rediss://:p@h:1/0", "amqp://h", "amqps://h", "sentinel://a:1;sentinel://b"],
)
def test_brokers_are_those_that_carry_runs(url: str) -> None:
    assert Settings.from_env({"HEADWAY_BROKER_URL": url}).broker_url == url


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BROKER_URL", "kafka://u:hunter2@h", "is not the URL of a broker"),
        ("BROKER_URL", "hunter2", "is not the URL of a broker"),
        ("BROKER_URL", "redis://:hunter2@h:port", "is not the URL of a broker"),
        ("BROKER_URL", "redis://:hunter2@[::1", "is not the URL of a broker"),
        ("BROKER_URL", "redis://h;http://hunter2@h", "is not the URL of a broker"),
        ("WORKERS", "-1", "whole number"),
        ("WORKERS", "2.5", "whole number"),
        ("WORKERS", "9" * 5000, "whole number"),
        ("PROJECT_ROOTS", "/projects:here", "names here. Use absolute paths"),
        ("DATA_ROOTS", "~/data", "Use absolute paths"),
        ("ENCRYPTION_KEYS", "hunter2", "number 1 of 1 is not a key"),
        ("ENCRYPTION_KEYS", f"{KEY},hunter2", "number 2 of 2 is not a key"),
        ("ENCRYPTION_KEYS", KEY[:-4], "openssl rand"),
        ("ENCRYPTION_KEYS", "hünter2", "not a key"),
        ("OIDC_ISSUER", "http://id.example.org", "is not an issuer"),
        ("OIDC_ISSUER", "https://ada:hunter2@id.example.org", "is not an issuer"),
        ("OIDC_ISSUER", "https://id.example.org?key=hunter2", "is not an issuer"),
        ("OIDC_ISSUER", "https://", "is not an issuer"),
        ("OIDC_ISSUER", "https://id.example.org", "go together"),
    ],
)
def test_a_bad_value_is_one_line_that_shows_no_secret(name: str, value: str, says: str) -> None:
    with pytest.raises(SettingInvalid) as refused:
        Settings.from_env({f"HEADWAY_{name}": value})
    said = str(refused.value)
    assert said.startswith(f"HEADWAY_{name}")
    assert says in said
    assert "\n" not in said
    assert "hunter2" not in said
    assert KEY[:-4] not in said


def test_nothing_secret_is_part_of_the_repr() -> None:
    env = {
        "HEADWAY_BROKER_URL": "redis://:hunter2@h",
        "HEADWAY_ENCRYPTION_KEYS": OTHER,
        "HEADWAY_SECRET_KEY": "hunter3",
        "HEADWAY_PUBLIC_URL": "http://localhost:8000",
        "HEADWAY_OIDC_ISSUER": "http://localhost:9000",
        "HEADWAY_OIDC_CLIENT_ID": "headway",
        "HEADWAY_OIDC_CLIENT_SECRET": "hunter5",
        "HEADWAY_DATABASE_URL": "postgresql://u:hunter4@h/d",
    }
    said = repr(Settings.from_env(env))
    assert not [word for word in ("hunter", OTHER) if word in said]


def test_a_catalog_in_a_file_has_a_key_of_its_own_and_one_on_a_server_has_none(
    tmp_path: Path,
) -> None:
    settings = Settings.from_env({"DATABASE_URL": f"sqlite:///{tmp_path}/c.sqlite"})
    (key,) = {settings.fernet_keys() for _ in range(3)}
    file = tmp_path / "encryption_key"
    assert key == (file.read_text(),)
    assert file.stat().st_mode & 0o777 == 0o600
    assert Settings.from_env({"DATABASE_URL": "postgresql://h/x"}).fernet_keys() == ()
    file.write_text("half a key")
    with pytest.raises(SettingInvalid, match=r"encryption_key beside .* holds no key"):
        settings.fernet_keys()


def test_two_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    settings = Settings.from_env({"DATABASE_URL": f"sqlite:///{tmp_path}/c.sqlite"})
    keys = {settings.for_flask()["SECRET_KEY"] for _ in range(3)}
    assert len(keys) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["secret_key"]


def test_the_release_is_the_one_of_pyproject() -> None:
    assert f'version = "{RELEASE}"' in (ROOT / "pyproject.toml").read_text()


@pytest.mark.parametrize("key", ["x", "a" * 31, "é" * 15])
def test_a_secret_key_that_could_be_guessed_is_refused(tmp_path: Path, key: str) -> None:
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    env = {"HEADWAY_DATABASE_URL": url, "HEADWAY_SECRET_KEY": key}
    with pytest.raises(SettingInvalid, match="HEADWAY_SECRET_KEY is shorter than 32") as refused:
        Settings.from_env(env).for_flask()
    assert key not in str(refused.value) or len(key) == 1
    (tmp_path / "secret_key").write_text(key)
    with pytest.raises(SettingInvalid, match="The file secret_key is shorter than 32"):
        Settings.from_env({"HEADWAY_DATABASE_URL": url}).for_flask()
    assert Settings.from_env(env | {"HEADWAY_SECRET_KEY": "é" * 16}).for_flask()


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("https://Headway.example.org/", "https://headway.example.org"),
        ("http://10.0.0.7:8000", "http://10.0.0.7:8000"),
        ("https://headway.example.org:443", "https://headway.example.org"),
        ("http://headway.example.org:80/", "http://headway.example.org"),
        ("https://[2001:db8::7]:8443", "https://[2001:db8::7]:8443"),
    ],
)
def test_a_public_url_is_a_scheme_and_a_host(said: str, read: str) -> None:
    assert Settings.from_env({"HEADWAY_PUBLIC_URL": said}).public_url == read


@pytest.mark.parametrize(
    "said",
    [
        *("headway.example.org", "https://h/path", "https://h?x", "ftp://h", "https://u:p@h"),
        *("https://h:0", "https://h:99999", "https://", "https://h\\@evil", "https://a b"),
    ],
)
def test_what_is_no_public_url_is_refused(said: str) -> None:
    with pytest.raises(SettingInvalid, match="HEADWAY_PUBLIC_URL"):
        Settings.from_env({"HEADWAY_PUBLIC_URL": said})


def test_a_provider_needs_to_know_where_people_come_back() -> None:
    env = {"HEADWAY_OIDC_ISSUER": "https://id.example.org", "HEADWAY_OIDC_CLIENT_ID": "headway"}
    with pytest.raises(SettingInvalid, match="HEADWAY_PUBLIC_URL is needed"):
        Settings.from_env(env)
