"""`flask projects load`, `flask databases refresh`, `flask revisions`, `flask drifts`."""

import json
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.fleet import databases, drift, projects
from app.models import Project
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT
from tests.fleet.fleets import move
from tests.migrator.making import run
from tests.migrator.scripts import write_project


@pytest.fixture
def app(template_copy: URL, tmp_path: Path) -> Flask:
    roots = {"project_roots": (tmp_path,), "data_roots": (tmp_path,)}
    return create_app(settings_for(template_copy, **roots))


@pytest.fixture
def shop(app: Flask, tmp_path: Path) -> int:
    folder = write_project(tmp_path / "scripts", 3)
    with app.app_context():
        project, _ = projects.create_project(ROOT, {"name": "shop", "location": str(folder)})
        return project.id


def says(runner: FlaskCliRunner, *arguments: str, exits: int = 0) -> Result:
    done = runner.invoke(args=list(arguments))
    assert done.exit_code == exits, done.output
    return done


def test_a_project_is_loaded_and_its_databases_asked(
    runner: FlaskCliRunner, app: Flask, shop: int, tmp_path: Path
) -> None:
    assert "shop is ready. Head: r003." in says(runner, "projects", "load", "shop").stdout
    with app.app_context():
        scripts = projects.scripts_of(db.session.get_one(Project, shop))
        move(scripts.at(tmp_path / "a.db"), "r002")
        databases.register_database(
            ROOT, {"project_id": shop, "name": "a", "url": f"sqlite:///{tmp_path}/a.db"}
        )
    asked = says(runner, "databases", "refresh", "--project", "shop")
    assert "Checked 1 of 1 database." in asked.stdout
    rows = says(runner, "revisions", "list", "shop").stdout.splitlines()
    assert rows[0].split("\t")[:3] == ["revision", "parents", "databases"]
    assert rows[2].split("\t")[:3] == ["r002", "r001", "1"]
    later = says(runner, "databases", "refresh", "--project", "shop", "--later")
    assert "will check the databases" in later.stdout


def test_a_project_that_cannot_be_loaded_says_why_and_once(
    runner: FlaskCliRunner, shop: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "scripts" / "env.py").write_text("raise ValueError('no settings')")
    done = says(runner, "projects", "load", "shop", exits=78)
    assert "shop cannot be used: env.py failed: ValueError: no settings" in done.stderr
    assert "no settings" not in caplog.text
    body = json.loads(says(runner, "projects", "load", "shop", "--json", exits=78).stdout)
    assert body["state"] == "broken"
    assert says(runner, "databases", "refresh", "--project", "shop", exits=1)


def test_a_revision_is_shown_though_its_script_is_gone(
    runner: FlaskCliRunner, shop: int, tmp_path: Path
) -> None:
    says(runner, "projects", "load", "shop")
    (tmp_path / "scripts" / "versions" / "r003.py").unlink()
    says(runner, "projects", "load", "shop")
    assert "r003\tr002" in says(runner, "revisions", "list", "shop", "--missing").stdout
    shown = json.loads(says(runner, "revisions", "show", "shop", "r003", "--json").stdout)
    assert (shown["present"], shown["parents"]) == (False, ["r002"])
    sql = says(runner, "revisions", "show", "shop", "r003", "--sql", "postgresql").stdout
    assert "CREATE TABLE t3" in sql
    assert "DROP TABLE t3;" in sql
    script = says(runner, "revisions", "show", "shop", "r003", "--script").stdout
    assert "def upgrade():" in script
    refused = says(runner, "revisions", "show", "shop", "r9", exits=1)
    assert "has a revision r9" in refused.output


def test_drift_is_listed_mended_and_ignored(
    runner: FlaskCliRunner, app: Flask, shop: int, tmp_path: Path
) -> None:
    says(runner, "projects", "load", "shop")
    url = URL.create("sqlite", database=str(tmp_path / "a.db"))
    with app.app_context():
        scripts = projects.scripts_of(db.session.get_one(Project, shop))
        move(scripts.at(url))
        run(url, "CREATE INDEX ix_more ON t1 (extra)")
        made, _ = databases.register_database(
            ROOT, {"project_id": shop, "name": "a", "url": f"sqlite:///{tmp_path}/a.db"}
        )
        assert drift.compare_and_store(made, scripts.at(url)) == 1
    row = says(runner, "drifts", "list", "shop").stdout.splitlines()[1].split("\t")
    assert row[1:3] == ["1", "extra index t1.ix_more"]
    sql = says(runner, "drifts", "list", "shop", "--sql").stdout
    assert sql.splitlines()[1] == "DROP INDEX ix_more;"
    assert "a.db" in says(runner, "drifts", "databases", "shop", row[0]).stdout
    says(runner, "drifts", "ignore", "shop", row[0], exits=2)
    assert "Ignored" in says(runner, "drifts", "ignore", "shop", row[0], "--reason", "ours").stdout
    body = json.loads(says(runner, "drifts", "list", "shop", "--ignored", "--json").stdout)
    assert body["items"][0]["ignored"]["reason"] == "ours"
    told = json.loads(
        says(runner, "drifts", "ignore", "shop", row[0], "--reason", "r", "--json").stdout
    )
    assert (told["says"], told["ignored"]["reason"]) == ("extra index t1.ix_more", "r")
    back = json.loads(says(runner, "drifts", "unignore", "shop", row[0], "--json").stdout)
    assert back == {"digest": told["digest"], "ignored": None}
    says(runner, "drifts", "ignore", "shop", row[0], "--reason", "ours")
    assert "counts as drift again" in says(runner, "drifts", "unignore", "shop", row[0]).stdout
    assert says(runner, "drifts", "unignore", "shop", row[0], exits=1)
    assert "(1 database, sqlite)" in sql
    unknown = says(runner, "drifts", "databases", "shop", "abc", exits=1).stderr
    assert "`flask drifts list shop` shows all." in unknown
