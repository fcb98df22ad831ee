"""A project starts from nothing: an env.py, no revision, and perhaps no folder for one."""

import shutil
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway import Project, errors
from headway.types import Position
from tests.migrator.making import MODELS, contents, run
from tests.migrator.scripts import write_env


@pytest.fixture(params=["with a folder", "without one"])
def nothing(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = write_env(tmp_path / "p", MODELS.format(more=""))
    if request.param == "without one":
        shutil.rmtree(folder / "versions")
    return folder


def test_there_is_nothing_to_do(nothing: Path, catalog_url: URL) -> None:
    run(catalog_url, "CREATE TABLE of_another (id INTEGER PRIMARY KEY)")
    before = contents(catalog_url)
    project = Project.load(nothing)
    database = project.at(catalog_url)
    assert (project.heads, project.validate(), project.revisions) == ((), (), ())
    assert database.status().position is Position.AT_HEAD
    assert database.status().next_step == ""
    assert database.plan().steps == ()
    assert database.upgrade().applied == ()
    assert database.plan_repair().is_empty
    assert contents(catalog_url) == before
    with pytest.raises(errors.ScriptsUnreadable, match="`revision`"):
        database.adopt()
    with pytest.raises(errors.ScriptsUnreadable, match="to join"):
        project.merge("nothing")


def test_a_database_is_made_that_has_nothing(nothing: Path, new_url: URL) -> None:
    assert Project.load(nothing).at(new_url).create() == ()
    assert Project.load(nothing).at(new_url).status().position is Position.AT_HEAD


@pytest.mark.parametrize("empty", [False, True])
def test_the_first_revision_is_written_and_runs(
    nothing: Path, catalog_url: URL, empty: bool
) -> None:
    project = Project.load(nothing)
    (file,) = project.revise("the first", against=catalog_url, empty=empty)
    assert file.parent == nothing / "versions"
    assert project.at(catalog_url).upgrade().after == project.heads != ()
    assert Project.load(nothing).at(catalog_url).status().position is Position.AT_HEAD
    if not empty:
        assert project.at(catalog_url).check().is_clean
        assert project.revise("again", against=catalog_url) == ()


def test_a_folder_that_is_no_script_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(errors.ScriptsUnreadable, match=r"There is no revision in .*versions"):
        Project.load(tmp_path)
    with pytest.raises(errors.ScriptsUnreadable, match="There is no script directory"):
        Project.load(tmp_path / "typo")
