"""Revisions written into the folder that the project really uses, ready to run."""

from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from headway import Project, errors
from tests.migrator.making import MODELS
from tests.migrator.scripts import write_env, write_revision

T = 'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))'


@pytest.fixture
def with_models(tmp_path: Path) -> Path:
    """Models with one column more than the revisions have."""
    text = MODELS.format(more='sa.Column("nickname", sa.String(20))')
    folder = write_env(tmp_path / "p", text)
    write_revision(folder, "one", None, [T])
    return folder


def test_it_runs_as_it_was_written(with_models: Path, catalog_url: URL) -> None:
    project = Project.load(with_models)
    (file,) = project.revise("add a nickname", against=catalog_url)
    assert file.parent == with_models / "versions"
    assert project.heads == (file.name.partition("_")[0],)
    database = project.at(catalog_url)
    database.upgrade()
    assert database.check().models == ()
    assert project.revise("again", against=catalog_url) == ()
    assert database.downgrade("-1").after == ("one",)


def test_what_stands_in_the_database_does_not_matter(with_models: Path, sqlite_url: URL) -> None:
    project = Project.load(with_models)
    project.at(sqlite_url).stamp("one")  # and has no table
    (file,) = project.revise("add a nickname", against=sqlite_url)
    assert "add_column" in file.read_text()
    assert "create_table" not in file.read_text()


def test_the_options_of_the_project_are_kept(with_models: Path) -> None:
    ini = with_models.parent / "alembic.ini"
    ini.write_text(
        "[alembic]\nscript_location = %(here)s/p\npath_separator = os\n"
        "file_template = %%(year)d_%%(slug)s\ntruncate_slug_length = 8\noutput_encoding = utf-8\n"
        "[post_write_hooks]\nhooks = note\nnote.type = exec\nnote.executable = /usr/bin/touch\n"
        "note.options = REVISION_SCRIPT_FILENAME.seen\n"
    )
    (file,) = Project.load(with_models).revise("añadir a nickname to them")
    assert file.name.endswith("_añadir_.py")
    assert file.name.startswith("20")
    assert file.with_name(file.name + ".seen").exists()


def test_without_a_template_alembics_own_is_used(with_models: Path) -> None:
    (with_models / "script.py.mako").unlink()
    (file,) = Project.load(with_models).revise("by hand", empty=True)
    assert "def upgrade()" in file.read_text()


def test_heads_are_joined(with_models: Path, sqlite_url: URL) -> None:
    write_revision(with_models, "left", "one")
    write_revision(with_models, "right", "one")
    project = Project.load(with_models)
    assert project.validate() == ("2 heads: left, right. Join them: `merge`.",)
    project.merge("join them")
    assert len(project.heads) == 1
    assert project.validate() == ()
    assert project.at(sqlite_url).upgrade().after == project.heads


def test_an_id_that_does_not_fit_is_found(with_models: Path) -> None:
    write_revision(with_models, "x" * 33, "one")
    (told,) = Project.load(with_models).validate()
    assert "longer than the 32 characters" in told


def test_without_models_there_is_nothing_to_compare(tmp_path: Path) -> None:
    folder = write_env(tmp_path / "p")
    write_revision(folder, "one", None)
    with pytest.raises(errors.EnvironmentFailed, match="names no target_metadata"):
        Project.load(folder).revise("what")


def test_what_cannot_run_here_says_what_to_give(with_models: Path) -> None:
    write_revision(with_models, "pg", "one", ['op.execute("CREATE EXTENSION hstore")'])
    with pytest.raises(errors.MigrationFailed, match="--url URL"):
        Project.load(with_models).revise("what")
