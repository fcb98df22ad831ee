"""The two compose files: what they promise, and what Compose makes of them."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

SECRETS = {
    "POSTGRES_PASSWORD": "from-the-test",
    "REDIS_PASSWORD": "from-the-test",
    "HEADWAY_SECRET_KEY": "from-the-test",
    "HEADWAY_ENCRYPTION_KEYS": "from-the-test",
}
FILES = ("compose.yaml", "compose.embedded.yaml")
REPLICAS = (("compose.yaml", "headway-1"), ("compose.yaml", "headway-2"))
WORKERS = ("compose.yaml", "workers")
HEADWAYS = (*REPLICAS, WORKERS, ("compose.embedded.yaml", "headway"))
Compose = Callable[..., subprocess.CompletedProcess[str]]


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def service(root: Path, file: str, name: str) -> Any:
    return yaml.safe_load((root / file).read_text())["services"][name]


@pytest.fixture(params=HEADWAYS)
def headway(request: pytest.FixtureRequest, root: Path) -> Any:
    return service(root, *request.param)


@pytest.fixture
def compose(root: Path, tool: Callable[..., subprocess.CompletedProcess[str]]) -> Compose:
    """Runs `docker compose … config`, which needs no engine."""

    def run(file: str, **env: str) -> subprocess.CompletedProcess[str]:
        arguments = ["--env-file", "/dev/null", "-f", root / file, "config"]
        options = {"how_to_get": "install Docker Compose", "env": os.environ | env}
        plugin = tool("docker", "compose", "version", **options)
        if plugin.returncode == 0:
            return tool("docker", "compose", *arguments, **options)
        return tool("docker-compose", *arguments, **options)

    return run


def test_headway_runs_hardened(headway: Any) -> None:
    assert headway["read_only"] is True
    assert headway["tmpfs"] == ["/tmp"]
    assert headway["cap_drop"] == ["ALL"]
    assert headway["security_opt"] == ["no-new-privileges:true"]


def test_a_stop_waits_longer_than_gunicorn_does(headway: Any, graceful_seconds: int) -> None:
    assert seconds(headway["stop_grace_period"]) > graceful_seconds


def test_an_init_passes_the_first_signals_on(headway: Any) -> None:
    assert headway["init"] is True


def test_only_this_machine_reaches_the_ports(headway: Any) -> None:
    assert all(port.startswith("127.0.0.1:") for port in headway.get("ports", ()))


def test_two_replicas_differ_in_their_port_alone(root: Path) -> None:
    first, second = (service(root, *replica) for replica in REPLICAS)
    assert first.pop("ports") != second.pop("ports")
    assert first == second


def test_the_embedded_catalog_is_on_a_volume(root: Path) -> None:
    volumes = service(root, "compose.embedded.yaml", "headway")["volumes"]
    assert {"catalog:/catalog", "data:/data"} <= set(volumes)


def test_projects_are_mounted_to_be_read_only(headway: Any) -> None:
    (projects,) = (volume for volume in headway["volumes"] if ":/projects" in volume)
    assert projects.endswith(":/projects:ro")


def test_workers_may_finish_the_database_they_are_at(root: Path) -> None:
    workers = service(root, *WORKERS)
    assert workers["command"][:3] == ["flask", "workers", "run"]
    assert seconds(workers["stop_grace_period"]) > 600, "what a rollout gives one database"
    assert workers["healthcheck"] == {"disable": True}, "it serves nothing"


def test_the_broker_keeps_nothing_and_has_no_port(root: Path) -> None:
    redis = service(root, "compose.yaml", "redis")
    assert "ports" not in redis
    assert "volumes" not in redis
    assert redis["command"][-2] == "--requirepass"
    broker = service(root, *WORKERS)["environment"]["HEADWAY_BROKER_URL"]
    assert broker == f"redis://:{redis['command'][-1]}@redis:6379/0"


@pytest.mark.parametrize("file", FILES)
def test_compose_understands_the_file(file: str, compose: Compose) -> None:
    done = compose(file, **SECRETS)
    mine = {
        name
        for name in yaml.safe_load(done.stdout)["services"]
        if name not in ("postgres", "redis")
    }
    assert mine == {name for where, name in HEADWAYS if where == file}, done.stderr


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_asks_for_a_missing_secret_by_name(missing: str, compose: Compose) -> None:
    given = {name: value for name, value in SECRETS.items() if name != missing}
    done = compose("compose.yaml", **given)
    assert f"required variable {missing} is missing" in done.stderr
    assert "openssl rand" in done.stderr


def test_the_embedded_variant_needs_no_secret(compose: Compose) -> None:
    assert compose("compose.embedded.yaml").stderr == ""
