"""The register, drift and refresh through the API."""

from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.fleet import databases, drift, projects
from app.fleet.core.transactions import writing
from app.fleet.counts import positions
from app.fleet.projects import scripts
from app.models import Database, Project
from tests.api.conftest import ROOT, Call, assert_problem
from tests.conftest import settings_for
from tests.migrator.scripts import write_project, write_revision


@pytest.fixture
def app(template_copy: URL, tmp_path: Path) -> Flask:
    roots = {"project_roots": (tmp_path,), "data_roots": (tmp_path,)}
    return create_app(settings_for(template_copy, **roots))


@pytest.fixture
def shop(app: Flask, tmp_path: Path) -> int:
    """A project of three revisions, of which the last was edited and is gone now."""
    folder = write_project(tmp_path / "scripts", 3)
    with app.app_context():
        project, _ = projects.create_project(ROOT, {"name": "shop", "location": str(folder)})
        scripts.load(project.id)
        write_revision(folder, "r003", "r002", message="edited")
        scripts.load(project.id)
        (folder / "versions" / "r003.py").unlink()
        scripts.load(project.id)
        return project.id


def member(app: Flask, project_id: int, folder: Path, name: str) -> int:
    with app.app_context():
        values = {"project_id": project_id, "name": name, "url": f"sqlite:///{folder}/{name}.db"}
        made, _ = databases.register_database(ROOT, values)
        made.position, made.current = "behind", "r001"
        db.session.commit()
        with writing() as session:
            positions.recount(session, [project_id])
        return made.id


def test_the_register_is_listed_and_read(call: Call, app: Flask, shop: int, tmp_path: Path) -> None:
    member(app, shop, tmp_path, "a")
    body = call("viewer", "GET", f"/projects/{shop}/revisions?limit=2").get_json()
    assert [one["revision"] for one in body["items"]] == ["r001", "r002"]
    assert [one["databases"] for one in body["items"]] == [1, 0]
    assert "script" not in body["items"][0]
    rest = call("viewer", "GET", f"/projects/{shop}/revisions?after={body['next']}")
    assert [one["revision"] for one in rest.get_json()["items"]] == ["r003", "r003"]
    gone = call("viewer", "GET", f"/projects/{shop}/revisions?present=false").get_json()
    assert {one["revision"] for one in gone["items"]} == {"r003"}
    one = call("viewer", "GET", f"/projects/{shop}/revisions/r003").get_json()
    assert (one["message"], one["present"], len(one["former"])) == ("edited", False, 1)
    assert "revision = 'r003'" in one["script"]
    assert one["sql"]["postgresql"] == {"upgrade": "", "downgrade": ""}
    assert_problem(
        call("viewer", "GET", f"/projects/{shop}/revisions/zzz"), 404, "revision-not-found"
    )
    assert_problem(call("viewer", "GET", f"/projects/{shop}/revisions/%00"), 404)
    assert_problem(call("viewer", "GET", "/projects/999/revisions"), 404, "project-not-found")


def test_a_refresh_is_asked_for_and_no_script_runs(call: Call, app: Flask, shop: int) -> None:
    assert_problem(call("viewer", "POST", f"/projects/{shop}/refresh", json={}), 403)
    with app.app_context():
        assert db.session.get_one(Project, shop).refreshed_at is None
    answer = call("operator", "POST", f"/projects/{shop}/refresh", json={})
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/api/v1/projects/{shop}"
    assert answer.get_json()["refresh_asked_at"]
    with app.app_context():
        assert db.session.get_one(Project, shop).refreshed_at is None


def test_drift_is_grouped_and_accepted(call: Call, app: Flask, shop: int, tmp_path: Path) -> None:
    ids = [member(app, shop, tmp_path, name) for name in ("a", "b")]
    with app.app_context():
        for key in ids:
            found = [("extra index t1.ix_more", "DROP INDEX ix_more;")]
            drift.store_differences(db.session.get_one(Database, key), found)
    body = call("viewer", "GET", f"/drifts?project_id={shop}").get_json()
    (one,) = body["items"]
    assert (one["says"], one["databases"], one["ignored"]) == ("extra index t1.ix_more", 2, None)
    assert one["mends"] == [{"dialect": "sqlite", "sql": "DROP INDEX ix_more;", "warning": None}]
    single = call("viewer", "GET", f"/drifts/differences?digest={one['digest']}").get_json()
    assert [row["database_id"] for row in single["items"]] == ids
    wanted = {"project_id": shop, "digest": one["digest"][:10], "reason": "the DBA's"}
    assert_problem(call("viewer", "POST", "/drifts/ignored", json=wanted), 403)
    kept = call("operator", "POST", "/drifts/ignored", json=wanted)
    assert (kept.status_code, kept.get_json()["by_name"]) == (200, "operator")
    body = call("viewer", "GET", f"/drifts?project_id={shop}&ignored=false").get_json()
    assert body["items"] == []
    gone = call("operator", "DELETE", f"/drifts/ignored/{shop}/{one['digest']}")
    assert gone.status_code == 204
    again = call("operator", "DELETE", f"/drifts/ignored/{shop}/{one['digest']}")
    assert_problem(again, 404, "difference-not-found")
    assert_problem(call("operator", "DELETE", f"/drifts/ignored/{shop}/%00"), 404)
    assert_problem(call("viewer", "GET", "/drifts"), 422)
    assert_problem(call("viewer", "GET", "/drifts?project_id=999"), 404, "project-not-found")


def test_nobody_comes_in_without_a_token(call: Call, shop: int) -> None:
    for method, path in (
        ("GET", f"/projects/{shop}/revisions"),
        ("GET", f"/projects/{shop}/revisions/r001"),
        ("POST", f"/projects/{shop}/refresh"),
        ("GET", f"/drifts?project_id={shop}"),
        ("GET", "/drifts/differences"),
        ("POST", "/drifts/ignored"),
        ("DELETE", f"/drifts/ignored/{shop}/abcd"),
    ):
        assert_problem(call(None, method, path), 401, "token-refused")
