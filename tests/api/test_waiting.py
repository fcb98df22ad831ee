"""Requests that wait for something else: they leave threads for others, and end."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest
from argon2.exceptions import VerificationError
from flask import Flask
from flask.testing import FlaskClient

from app.fleet.accounts import passwords
from app.fleet.core import places
from app.fleet.databases import import_sources
from headway import Project as Scripts
from tests import impostors
from tests.api.conftest import Call, assert_problem

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def app(shop_app: Flask) -> Flask:
    return shop_app


@pytest.fixture
def project(call: Call, shop_scripts: Path) -> int:
    made = call("admin", "POST", "/projects", json={"name": "shop", "location": str(shop_scripts)})
    return int(made.get_json()["id"])


def children() -> set[int]:
    return {one.pid for one in psutil.Process().children() if one.status() != "zombie"}


def test_what_waits_leaves_threads_for_what_does_not() -> None:
    threads = re.findall(r"^threads = (\d+)", (ROOT / "gunicorn.conf.py").read_text(), re.MULTILINE)
    assert sum(each.most for each in places.ALL) + 4 <= int(threads[0])
    assert {each for each in vars(places).values() if isinstance(each, places.Places)} == {
        *places.ALL
    }


def test_who_has_the_places_and_who_gets_none() -> None:
    some = places.Places(3, "Others are there.", each=2)
    first, second = some.take("ada"), some.take("ada")
    with pytest.raises(
        places.ServerBusy, match=r"^Others are there\. Try again in a few seconds\.$"
    ):
        some.take("ada")
    third = some.take("bob")
    with pytest.raises(places.ServerBusy):
        some.take("carol")
    for one in (second, third):
        one.close()
        one.close()
    with some.take("carol"), some.take("ada"), pytest.raises(places.ServerBusy):
        some.take("bob")
    first.close()
    assert not some._taken


@pytest.mark.parametrize(
    ("server", "drivername", "says"),
    [
        (
            impostors.silent,
            "postgresql",
            "did not return the list of its databases within 4 seconds",
        ),
        (impostors.endless, "mysql", "did not fit into the memory"),
    ],
)
def test_a_server_that_never_ends_costs_one_process_which_ends(
    app: Flask,
    call: Call,
    project: int,
    monkeypatch: pytest.MonkeyPatch,
    server: Callable[[], AbstractContextManager[impostors.Impostor]],
    drivername: str,
    says: str,
) -> None:
    if drivername == "postgresql":
        monkeypatch.setattr(import_sources, "FIND_SECONDS", 4.0)
    else:
        monkeypatch.setattr(import_sources, "FIND_SECONDS", 300.0)
    before = children()
    with server() as it:
        url = f"{drivername}://app:s3cr3t@127.0.0.1:{it.port}/x?connect_timeout=86400"
        body = {"project_id": project, "server": {"url": url}}
        answer = call("operator", "POST", "/databases/import", json=body)
    problem = assert_problem(answer, 503 if drivername == "postgresql" else 502)
    assert says in str(problem["detail"])
    assert "s3cr3t" not in answer.text
    psutil.wait_procs([psutil.Process(pid) for pid in children() - before], timeout=30)
    assert children() == before
    assert not places.REACHING._taken


def test_a_drop_that_never_ends_ends_and_the_database_stays_a_member(
    call: Call, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.fleet.databases.REQUEST_SECONDS", 4.0)
    with impostors.silent() as it:
        url = f"postgresql://app:s3cr3t@127.0.0.1:{it.port}/shop"
        body = {"project_id": project, "url": url}
        made = call("operator", "POST", "/databases", json=body).get_json()
        where = f"/databases/{made['id']}"
        refused = call("admin", "POST", f"{where}/drop", json={"confirm": "shop"})
    detail = str(assert_problem(refused, 409, "database-in-use")["detail"])
    assert "did not confirm its drop within 4 seconds" in detail
    assert "s3cr3t" not in detail
    assert call("viewer", "GET", where).get_json()["retired_at"] is None


def test_an_expression_that_never_ends_ends(
    call: Call, project: int, data: Path, shop_scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Scripts.load(shop_scripts).at(data / f"{'a' * 40}.db").create("r001")
    files = {"pattern": f"{data}/*.db", "labels": r"/(?P<x>a+)\.db$"}
    body = {"project_id": project, "files": files}
    with monkeypatch.context() as patched:
        patched.setattr(import_sources, "FIND_SECONDS", 4.0)
        hostile = body | {"files": files | {"labels": "(?P<x>(a|a)*)!$"}}
        refused = call("operator", "POST", "/databases/import", json=hostile)
        assert "longer than 4 seconds" in assert_problem(refused, 422, "input-invalid")["detail"]  # type: ignore[operator]
    for bad in ("(", "[a-z]+"):
        wrong = body | {"files": files | {"labels": bad}}
        assert_problem(call("operator", "POST", "/databases/import", json=wrong), 422)
    done = call("operator", "POST", "/databases/import", json=body)
    assert done.get_json()["added"] == 1, done.text
    (found,) = call("viewer", "GET", "/databases").get_json()["items"]
    assert found["labels"] == {"x": "a" * 40}


def test_one_reaches_out_and_others_are_told_to_come_back(
    call: Call, project: int, data: Path
) -> None:
    """Every request that reaches a server or reads files, or waits for a worker."""
    made = call(
        *("operator", "POST", "/databases"),
        json={"project_id": project, "url": f"{data}/a.db"},
    ).get_json()
    hook = call("admin", "POST", "/webhooks", json={"name": "x", "url": "http://127.0.0.1:9/"})
    server = {"url": "postgresql://a:b@127.0.0.1:1/x"}
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/databases/import", {"project_id": project, "server": server}),
        ("/databases/import", {"project_id": project, "files": {"pattern": f"{data}/*.db"}}),
        (f"/databases/{made['id']}/drop", {"confirm": made["name"]}),
        (f"/webhooks/{hook.get_json()['id']}/test", {}),
    ]
    before = children()
    with places.REACHING.take():
        for path, body in asked:
            refused = call("admin", "POST", path, json=body)
            detail = assert_problem(refused, 503, "server-busy")["detail"]
            assert str(detail).endswith("Try again in a few seconds.")
            assert int(refused.headers["Retry-After"]) > 0
    assert children() == before
    assert call("viewer", "GET", f"/databases/{made['id']}").get_json()["retired_at"] is None
    creation = {"project_id": project, "url": f"{data}/new.db"}
    with places.WAITING.take():
        begun = call(
            *("operator", "POST", "/databases/create"),
            json=creation,
            headers={"Prefer": "wait=60"},
        )
    assert (begun.status_code, begun.headers.get("Preference-Applied")) == (202, None)


def test_passwords_are_checked_one_at_a_time_and_few_wait(
    app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = client.get("/sign-in").text
    token = re.findall(r'name="csrf_token"[^>]* value="([^"]+)"', page)[0]
    form = {"csrf_token": token, "email": "a@example.org", "password": "wrong password"}
    with places.HASHING.take(), places.HASHING.take(), places.HASHING.take():
        refused = client.post("/sign-in", data=form)
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    assert "Other passwords are being checked. Try again" in refused.text
    assert client.post("/sign-in", data=form).status_code == 401
    idents = set()

    class Recording:
        def verify(self, *_: str) -> bool:
            idents.add(threading.get_ident())
            raise VerificationError

    shipped = passwords.hasher
    monkeypatch.setattr(passwords, "hasher", Recording())
    with ThreadPoolExecutor(places.HASHING.most) as pool:
        assert not any(pool.map(lambda _: passwords._is_right("x", "y"), range(3)))
    assert len(idents) == 1
    assert threading.get_ident() not in idents
    assert (shipped.memory_cost, shipped.time_cost, shipped.parallelism) == (19456, 2, 1)
