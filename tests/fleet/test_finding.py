"""Script directories that could be projects are found without running anything of them."""

from pathlib import Path

import pytest
from flask import Flask

from app.errors import RoleInsufficient
from app.fleet.projects import discovery
from app.models import Role
from tests.fleet.conftest import ROOT, person, project_at
from tests.migrator.scripts import write_project


def test_the_nearest_come_first_and_projects_are_left_out(
    fleet_here: Flask, tmp_path: Path
) -> None:
    deep = write_project(tmp_path / "teams" / "a" / "db" / "migrations", 1)
    near = write_project(tmp_path / "zoo", 1)
    write_project(tmp_path / ".venv" / "hidden", 1)
    write_project(tmp_path / "web" / "node_modules" / "x", 1)
    (tmp_path / "plain").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path)
    (near / "env.py").write_text("raise SystemExit('nobody runs this')")
    assert discovery.found_folders(ROOT, limit=9) == [str(near), str(deep)]
    assert discovery.found_folders(ROOT, limit=1) == [str(near)]
    project_at(near)
    assert discovery.found_folders(ROOT, limit=9) == [str(deep)]


def test_a_look_around_ends(
    fleet_here: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (tmp_path / f"f{number:02}").mkdir()
    write_project(tmp_path / "f00" / "deep", 1)
    monkeypatch.setattr(discovery, "MOST_FOLDERS", 20)
    assert discovery.found_folders(ROOT, limit=9) == []
    monkeypatch.setattr(discovery, "MOST_FOLDERS", 22)
    assert len(discovery.found_folders(ROOT, limit=9)) == 1


def test_who_may_make_no_project_is_shown_no_folder(fleet_here: Flask) -> None:
    _, viewer = person(Role.OPERATOR)
    with pytest.raises(RoleInsufficient):
        discovery.found_folders(viewer, limit=1)
