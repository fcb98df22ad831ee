"""Projects: where their scripts may be, what is read of them and when."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from app.errors import (
    InputInvalid,
    NameTaken,
    OutsideRoots,
    ProjectNotFound,
    RecordChanged,
    RoleInsufficient,
)
from app.extensions import db
from app.fleet import databases, projects
from app.fleet.core import audit
from app.fleet.core.permissions import Actor
from app.models import Loading, Project, Role
from headway.errors import StillNeeded
from tests.fleet.conftest import ROOT, at_once, person
from tests.fleet.registry import Registry, registry_on
from tests.migrator.scripts import write_env, write_project, write_revision


@pytest.fixture
def registry(template_copy: URL, tmp_path: Path) -> Iterator[Registry]:
    with registry_on(template_copy, tmp_path) as made:
        yield made


@pytest.fixture
def anywhere(migrated_url: URL, tmp_path: Path) -> Iterator[Registry]:
    with registry_on(migrated_url, tmp_path) as made:
        yield made


USE_CASES: dict[str, tuple[Role, Callable[[Actor, Registry], object]]] = {
    "read": (Role.VIEWER, lambda me, it: projects.get_project(me, it.project_id)),
    "find": (Role.VIEWER, lambda me, _: projects.find_project(me, "shop")),
    "list": (Role.VIEWER, lambda me, _: projects.list_projects(me, limit=1)),
    "ask": (Role.OPERATOR, lambda me, it: projects.ask_refresh(me, it.project_id)),
    "create": (
        Role.ADMIN,
        lambda me, it: projects.create_project(me, {"name": "n", "location": str(it.scripts)}),
    ),
    "change": (
        Role.ADMIN,
        lambda me, it: projects.change_project(me, it.project_id, {"notes": "n"}, version=None),
    ),
    "delete": (Role.ADMIN, lambda me, it: projects.delete_project(me, it.project_id, version=None)),
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("what", USE_CASES)
def test_the_lowest_role_for_each_use_case(registry: Registry, what: str, role: Role) -> None:
    _, me = person(role, "me")
    lowest, use_case = USE_CASES[what]
    if role is Role.MEMBER and what == "list":
        assert use_case(me, registry) == ([], None)
    elif role.includes(lowest):
        use_case(me, registry)
    else:  # to a member it is not there
        with pytest.raises((RoleInsufficient, ProjectNotFound)):
            use_case(me, registry)


def test_registering_runs_and_imports_nothing(registry: Registry) -> None:
    folder = registry.scripts.parent / "trap"
    write_env(folder, "raise SystemExit('env.py was run')\n")
    write_revision(folder, "r001", None, ["pass"])
    (folder / "versions" / "r002.py").write_text("raise SystemExit('a revision was run')\n")
    made, replayed = projects.create_project(ROOT, {"name": "trap", "location": str(folder)})
    assert (made.state, made.heads, replayed) == (Loading.WAITING, [], False)


def test_a_package_is_found_without_importing_it(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = registry.scripts.parent / "trapped"
    inner = package / "inner"
    inner.mkdir(parents=True)
    for folder in (package, inner):
        (folder / "__init__.py").write_text("raise SystemExit('a package was imported')\n")
    write_project(inner / "migrations", 1)
    monkeypatch.syspath_prepend(str(package.parent))
    made, _ = projects.create_project(ROOT, {"name": "p", "location": "trapped.inner:migrations"})
    assert made.location == "trapped.inner:migrations"
    assert not {"trapped", "trapped.inner"} & set(sys.modules)
    assert projects.scripts_of(made).heads == ("r001",)
    assert not {"trapped", "trapped.inner"} & set(sys.modules)


@pytest.mark.parametrize("way", ["elsewhere", "above", "link", "package", "ini", "versions"])
def test_no_scripts_outside_the_roots_are_used(
    registry: Registry, way: str, tmp_path: Path
) -> None:
    outside = write_project(tmp_path / "outside", 1)
    root = registry.scripts.parent
    (root / "link").symlink_to(outside)
    (outside / "alembic.ini").write_text("[alembic]\n")
    values: dict[str, Any] = {
        "elsewhere": {"location": str(outside)},
        "above": {"location": f"{root}/../outside"},
        "link": {"location": str(root / "link")},
        "package": {"location": "app:fleet"},
        "ini": {"location": str(registry.scripts), "ini": str(outside / "alembic.ini")},
        "versions": {"location": str(registry.scripts)},
    }[way]
    if way == "versions":
        (registry.scripts / "alembic.ini").write_text(
            f"[alembic]\nscript_location = .\nversion_locations = {outside}/versions\n"
        )
        made, _ = projects.create_project(ROOT, {"name": "n", **values})
        with pytest.raises(OutsideRoots):
            projects.scripts_of(made)
        return
    with pytest.raises(OutsideRoots):
        projects.create_project(ROOT, {"name": "n", **values})


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"location": "/projects/none"}, OutsideRoots),
        ({"location": "{root}/none"}, InputInvalid),
        ({"location": "nopackage:migrations"}, InputInvalid),
        ({"ini": "{root}/none.ini"}, InputInvalid),
        ({"name": "17"}, InputInvalid),
        ({"name": "a/b"}, InputInvalid),
        ({"name": " "}, InputInvalid),
        ({"name": "n" * 65}, InputInvalid),
        ({"location": "a\x00b"}, InputInvalid),
        ({"refresh_seconds": -1}, InputInvalid),
        ({"name": "shop"}, NameTaken),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(
    registry: Registry, values: dict[str, Any], error: type[Exception]
) -> None:
    root = registry.scripts.parent
    told = {
        k: v.replace("{root}", str(root)) if isinstance(v, str) else v for k, v in values.items()
    }
    with pytest.raises(error):
        projects.create_project(ROOT, {"name": "n", "location": str(registry.scripts)} | told)


def test_scripts_are_read_once_and_anew_when_a_file_changes(registry: Registry) -> None:
    project = projects.get_project(ROOT, registry.project_id)
    first = projects.scripts_of(project)
    assert first.heads == ("r003",)
    assert projects.scripts_of(project) is first
    write_revision(registry.scripts, "r004", "r003", ["pass"])
    assert projects.scripts_of(project).heads == ("r004",)


def test_a_release_is_switched_by_a_link(registry: Registry) -> None:
    root = registry.scripts.parent
    write_project(root / "v2", 2)
    current = root / "current"
    current.symlink_to(registry.scripts)
    made, _ = projects.create_project(ROOT, {"name": "linked", "location": str(current)})
    assert projects.scripts_of(made).heads == ("r003",)
    current.unlink()
    current.symlink_to(root / "v2")
    assert projects.scripts_of(made).heads == ("r002",)


def test_another_place_is_read_by_a_worker_again(registry: Registry) -> None:
    project = db.session.get(Project, registry.project_id)
    assert project
    project.state = Loading.READY
    db.session.commit()
    kept = projects.change_project(ROOT, project.id, {"notes": "hello"}, version=None)
    assert kept.state == Loading.READY
    other = write_project(registry.scripts.parent / "v2", 2)
    moved = projects.change_project(ROOT, project.id, {"location": str(other)}, version=None)
    assert moved.state == Loading.WAITING


def test_a_change_to_an_old_version_is_refused(anywhere: Registry) -> None:
    read = projects.get_project(ROOT, anywhere.project_id).version
    projects.change_project(ROOT, anywhere.project_id, {"notes": "a"}, version=read)
    with pytest.raises(RecordChanged):
        projects.change_project(ROOT, anywhere.project_id, {"notes": "b"}, version=read)
    answers = at_once(
        anywhere.app,
        *[
            lambda n=n: projects.change_project(
                ROOT, anywhere.project_id, {"notes": n}, version=read + 1
            )
            for n in ("x", "y")
        ],
    )
    assert sorted(type(a).__name__ for a in answers) == ["Project", "RecordChanged"]


def test_the_name_is_given_to_one_of_four(anywhere: Registry) -> None:
    values = {"name": "once", "location": str(anywhere.scripts)}
    answers = at_once(anywhere.app, *[lambda: projects.create_project(ROOT, values)] * 4)
    assert [type(a) for a in answers].count(tuple) == 1, answers
    assert [type(a) for a in answers].count(NameTaken) == 3, answers


def test_the_same_key_makes_it_once(anywhere: Registry) -> None:
    _, me = person(Role.ADMIN)
    values = {"name": "once", "location": str(anywhere.scripts)}
    first, one = projects.create_project(me, values, key="k")
    second, two = projects.create_project(me, values, key="k")
    assert (first.id, one, two) == (second.id, False, True)


def test_a_project_with_databases_or_a_history_stays(anywhere: Registry) -> None:
    made = anywhere.register("a")
    with pytest.raises(StillNeeded, match="a, and maybe"):
        projects.delete_project(ROOT, anywhere.project_id, version=None)
    databases.retire_database(ROOT, made.id)
    with pytest.raises(StillNeeded, match="history"):
        projects.delete_project(ROOT, anywhere.project_id, version=None)
    values = {"name": "unused", "location": str(anywhere.scripts)}
    unused, _ = projects.create_project(ROOT, values)
    projects.delete_project(ROOT, unused.id, version=unused.version)
    with pytest.raises(ProjectNotFound):
        projects.get_project(ROOT, unused.id)
    events, _ = audit.list_events(ROOT, limit=9, subject_type="project", subject_id=unused.id)
    assert [event.action for event in events] == ["project.deleted", "project.created"]


@pytest.mark.parametrize("key", [0, -1, 2**31, 2**80])
def test_a_number_that_no_key_can_be_is_not_found(registry: Registry, key: int) -> None:
    with pytest.raises(ProjectNotFound):
        projects.get_project(ROOT, key)


def test_it_is_found_by_name_and_number(registry: Registry) -> None:
    assert projects.find_project(ROOT, "shop").id == registry.project_id
    assert projects.find_project(ROOT, str(registry.project_id)).name == "shop"
    for name in ("none", "999", "Shop"):
        with pytest.raises(ProjectNotFound):
            projects.find_project(ROOT, name)
