"""The manifests in the docs: that they fit together, the image and the service."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings

FILES = (
    *("deployment.yaml", "service.yaml", "poddisruptionbudget.yaml", "secret.example.yaml"),
    "workers.yaml",
    "networkpolicy.yaml",
)


@pytest.fixture
def manifest(root: Path) -> Callable[[str], Any]:
    def read(name: str) -> Any:
        return yaml.safe_load((root / "docs" / "kubernetes" / name).read_text())

    return read


@pytest.fixture
def deployment(manifest: Callable[[str], Any]) -> Any:
    return manifest("deployment.yaml")["spec"]


@pytest.fixture
def pod(deployment: Any) -> Any:
    return deployment["template"]["spec"]


@pytest.fixture
def container(pod: Any) -> Any:
    (only,) = pod["containers"]
    return only


@pytest.mark.parametrize("file", FILES)
def test_kubernetes_schema_fits(
    file: str, root: Path, tool: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    how = "pip install kubernetes-validate"
    path = root / "docs" / "kubernetes" / file
    done = tool("kubernetes-validate", "--strict", path, how_to_get=how)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_manifest_is_checked_here(root: Path) -> None:
    assert {path.name for path in (root / "docs" / "kubernetes").iterdir()} == set(FILES)


def test_a_migration_is_alive_and_not_ready(container: Any) -> None:
    paths = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness")}
    assert paths == {"startup": "/healthz", "liveness": "/healthz"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_no_old_replica_goes_before_a_new_one_is_ready(deployment: Any) -> None:
    assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_lock_is_waited_for_as_long_as_a_rollout_may_take(
    deployment: Any, container: Any
) -> None:
    env = {item["name"]: item["value"] for item in container["env"]}
    assert int(env["HEADWAY_BOOT_LOCK_SECONDS"]) >= deployment["progressDeadlineSeconds"]


def test_there_is_time_to_stop(pod: Any, container: Any, graceful_seconds: int) -> None:
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + graceful_seconds


def test_only_the_ingress_and_the_monitoring_connect(
    root: Path, pod: Any, deployment: Any, manifest: Callable[[str], Any]
) -> None:
    text = (root / "docs" / "kubernetes" / "networkpolicy.yaml").read_text()
    replicas, workers = (each["spec"] for each in yaml.safe_load_all(text))
    assert replicas["podSelector"] == deployment["selector"]
    assert workers["podSelector"] == manifest("workers.yaml")["spec"]["selector"]
    (rule,) = replicas["ingress"]
    assert all("namespaceSelector" in who for who in rule["from"])
    assert rule["ports"][0]["port"] in {port["name"] for port in pod["containers"][0]["ports"]}
    assert workers["policyTypes"] == ["Ingress"]
    assert "ingress" not in workers


def test_the_pod_is_hardened(pod: Any, container: Any) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]


def test_the_pods_user_is_the_images(root: Path, pod: Any) -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (root / "Dockerfile").read_text(), re.MULTILINE)
    context = pod["securityContext"]
    assert user
    assert (context["runAsUser"], context["runAsGroup"]) == tuple(map(int, user.groups()))


def test_service_and_budget_choose_the_deployments_pods(
    deployment: Any, manifest: Callable[[str], Any]
) -> None:
    labels = deployment["template"]["metadata"]["labels"]
    assert manifest("service.yaml")["spec"]["selector"] == labels
    assert manifest("poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert deployment["selector"]["matchLabels"] == labels


def test_the_secret_gives_what_a_server_catalog_needs(manifest: Callable[[str], Any]) -> None:
    secret = manifest("secret.example.yaml")
    assert set(secret["stringData"]) == {
        *("HEADWAY_DATABASE_URL", "HEADWAY_SECRET_KEY", "HEADWAY_ENCRYPTION_KEYS"),
    }
    given = {"HEADWAY_ENCRYPTION_KEYS": ""}  # what is there says how to make one
    assert Settings.from_env(secret["stringData"] | given).database_url.host == "postgres.example"


def test_every_variable_is_a_setting(container: Any, root: Path) -> None:
    table = (root / "docs" / "settings.md").read_text()
    assert [item["name"] for item in container["env"] if f"`{item['name']}`" not in table] == []


def test_variables_of_a_service_named_headway_are_no_settings(pod: Any) -> None:
    """Kubernetes sets these for every container near a Service named headway, unless told not to."""
    address = "tcp://10.0.0.7:80"
    links = {
        "HEADWAY_PORT": address,
        "HEADWAY_PORT_80_TCP": address,
        "HEADWAY_PORT_80_TCP_ADDR": "10.0.0.7",
        "HEADWAY_PORT_80_TCP_PORT": "80",
        "HEADWAY_PORT_80_TCP_PROTO": "tcp",
        "HEADWAY_SERVICE_HOST": "10.0.0.7",
        "HEADWAY_SERVICE_PORT": "80",
        "HEADWAY_SERVICE_PORT_HTTP": "80",
    }
    assert Settings.from_env(links) == Settings.from_env({})
    assert pod["enableServiceLinks"] is False


def test_workers_are_as_hardened_and_may_finish_their_database(
    manifest: Callable[[str], Any], pod: Any, container: Any
) -> None:
    workers = manifest("workers.yaml")["spec"]["template"]["spec"]
    (one,) = workers["containers"]
    assert workers["securityContext"] == pod["securityContext"]
    assert workers["automountServiceAccountToken"] is False
    assert workers["enableServiceLinks"] is False
    assert one["securityContext"] == container["securityContext"]
    assert one["envFrom"] == container["envFrom"]
    assert one["image"] == container["image"]
    assert one["command"][:3] == ["flask", "workers", "run"]
    assert workers["terminationGracePeriodSeconds"] > 600, "what a rollout gives one database"


def test_the_service_chooses_no_worker(manifest: Callable[[str], Any]) -> None:
    labels = manifest("workers.yaml")["spec"]["template"]["metadata"]["labels"]
    chosen = manifest("service.yaml")["spec"]["selector"]
    assert any(labels.get(name) != value for name, value in chosen.items())


def test_the_replicas_leave_the_work_to_the_workers(container: Any) -> None:
    env = {item["name"]: item["value"] for item in container["env"]}
    assert env["HEADWAY_WORKERS"] == "0"
