"""`headway lint`: what it finds in a pull request, and how it says so."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy.engine import URL

from headway import Project
from headway.cli.commands import migrate
from headway.dialects import dialect_of
from tests.migrator.scripts import write_env, write_revision

INI = "[alembic]\nscript_location = %(here)s/migrations\nsqlalchemy.url = {url}\n"
T = 'op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))'
U = 'op.create_table("u", sa.Column("t_id", sa.Integer, sa.ForeignKey("t.id")))'


def git(*words: str) -> None:
    me = ("-c", "user.name=x", "-c", "user.email=x@x", "-c", "init.defaultBranch=main")
    subprocess.run(["git", *me, *words], check=True, capture_output=True)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one revision on main, and a branch off it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alembic.ini").write_text(INI.format(url="sqlite:///app.db"))
    write_revision(write_env(tmp_path / "migrations"), "one", None, [T], ['op.drop_table("t")'])
    git("init")
    git("add", ".")
    git("commit", "-m", "one")
    git("checkout", "-b", "work")
    return tmp_path


def lint(*words: str, code: int) -> str:
    done = CliRunner().invoke(migrate, ["lint", *words])
    assert done.exit_code == code, done.output
    return done.output


def test_on_each_server_a_good_revision_passes_and_its_sql_is_shown(
    place: Path, catalog_url: URL
) -> None:
    write_revision(place / "migrations", "two", "one", [U], ['op.drop_table("u")'])
    url = catalog_url.render_as_string(hide_password=False)
    found = lint("--since", "main", "--url", url, code=0)
    assert "CREATE TABLE u" in found
    assert "CREATE TABLE t " not in found
    assert "1 new revision: 0 errors" in found
    if catalog_url.get_backend_name() == "postgresql":
        mine = f"headway_check_{os.getpid()}_"
        assert dialect_of(catalog_url).named(catalog_url, mine) == []
    assert Project.load(place / "migrations").at(catalog_url).status().current == ()
    assert "2 new revisions" in lint(code=0)
    assert "0 new revisions: 0 errors, 0 warnings." in lint("--since", "two", code=0)


@pytest.mark.parametrize(
    ("up", "down", "rule", "words"),
    [
        ("1 / 0", "pass", "upgrade-fails", "division by zero"),
        (U, "pass", "downgrade-leaves", "extra table u"),
        (U, "raise NotImplementedError", "downgrade-fails", "NotImplementedError"),
        ("op.execute('DELETE FROM t')", "pass", "loses-rows", "t"),
    ],
)
def test_an_error_is_found_and_the_exit_code_says_so(
    place: Path, up: str, down: str, rule: str, words: str
) -> None:
    write_revision(place / "migrations", "two", "one", [up], [down])
    found = lint("--since", "one", code=3)
    line = next(line for line in found.splitlines() if line.startswith(f"error [{rule}] two: "))
    assert words in line
    assert not (place / "app.db").exists()


def test_what_was_merged_must_stay_as_it_is(place: Path) -> None:
    folder = place / "migrations"
    write_revision(folder, "two", "one", [U], ['op.drop_table("u")'])
    git("add", ".")
    git("commit", "-m", "two")
    git("branch", "-f", "main")
    (folder / "versions" / "two.py").unlink()
    write_revision(folder, "one", None, [T, "pass"], ['op.drop_table("t")'])
    found = lint("--since", "main", code=3)
    assert "error [edited-revision] one: it was edited" in found
    assert "error [deleted-revision]" in found
    assert "two.py is at main" in found


def test_risks_are_warnings_and_several_heads_an_error_in_each_format(place: Path) -> None:
    drop = ['op.drop_table("t")']
    write_revision(place / "migrations", "two", "one", drop, [T])
    assert "warning [drop] two: drops t with all its rows" in lint("--since", "one", code=0)
    write_revision(place / "migrations", "three", "one")
    found = lint("--since", "main", "--format", "github", code=3).splitlines()
    assert "::error title=headway several-heads::2 heads: three, two. Join them: `merge`." in found
    assert (
        "::warning file=migrations/versions/two.py,title=headway drop::two: drops t with all "
        "its rows"
    ) in found
    sarif = json.loads(lint("--since", "main", "--format", "sarif", code=3))
    (run,) = sarif["runs"]
    levels = {one["ruleId"]: one["level"] for one in run["results"]}
    assert levels == {"several-heads": "error", "drop": "warning"}
    uris = [
        one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in run["results"]
    ]
    assert uris == [".", "migrations/versions/two.py"]


@pytest.mark.parametrize("since", ["nowhere", "--output=x", "-x"])
def test_a_place_to_begin_that_is_none_is_refused(place: Path, since: str) -> None:
    assert "no commit that git finds" in lint(f"--since={since}", code=2)
    assert {file.name for file in place.iterdir()} == {".git", "alembic.ini", "migrations"}
