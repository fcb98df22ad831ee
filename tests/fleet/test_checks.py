"""A check of a gate reads tables and no more, and what databases say stays with operators."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.errors import CheckFailed, InputInvalid, RoleInsufficient
from app.extensions import db
from app.fleet import projects, rollouts, runs, webhooks
from app.fleet.isolation.remote import RemoteDatabase
from app.fleet.reports import overview
from app.fleet.rollouts.progress import progress
from app.fleet.runs import export
from app.models import Database, Delivery, Project, Role
from headway.connections.address import Address
from tests.fleet.fleets import ROOT, Fleet, fresh
from tests.migrator.making import run
from tests.migrator.scripts import write_revision

VIEWER = replace(ROOT, id=None, role=Role.VIEWER)
OPERATOR = replace(ROOT, id=None, role=Role.OPERATOR)
SECRET = "TopSecretRow"


@pytest.fixture
def plain(request: pytest.FixtureRequest, fresh_url: Callable[[str], URL]) -> Iterator[URL]:
    """A database whose user may read its tables, and nothing of the server."""
    url = fresh_url(request.param)
    run(
        url,
        "CREATE TABLE secretrows (a VARCHAR(99))",
        f"INSERT INTO secretrows VALUES ('{SECRET}')",
    )
    name = f"u{abs(hash(url.database)) % 10**8}"
    is_mariadb = request.param == "mariadb"
    who = f"'{name}'@'%'" if is_mariadb else name
    run(url, f"CREATE USER {who} {'IDENTIFIED BY' if is_mariadb else 'PASSWORD'} 'p'")
    grant = f"ALL ON `{url.database}`.*" if is_mariadb else "SELECT ON secretrows"
    run(url, f"GRANT {grant} TO {who}")
    yield url.set(username=name, password="p")
    if not is_mariadb:
        run(url, f"REVOKE ALL ON secretrows FROM {who}")
    run(url, f"DROP USER {who}")


def member(fleet: Fleet, url: URL) -> RemoteDatabase:
    return projects.scripts_of(db.session.get_one(Project, fleet.project_id)).at(url)


def outcome(one: RemoteDatabase, query: str) -> str:
    try:
        return str(one.query(query))
    except CheckFailed as error:
        return str(error)


HOSTILE = {
    "postgresql": (
        "SELECT CAST((SELECT a FROM secretrows) AS int)",
        "SELECT CAST(pg_read_file('/etc/passwd') AS int)",
        "SELECT rolpassword FROM pg_authid",
        "SELECT pg_create_physical_replication_slot('by_check')",
        "SELECT lo_export(1, '/tmp/by_check')",
        "WITH x AS (DELETE FROM secretrows RETURNING 1) SELECT * FROM x",
        "SELECT nextval('none')",
        "SELECT 1) x; DROP TABLE secretrows; SELECT (1",
    ),
    "mariadb": (
        "SELECT extractvalue(1, concat(0x7e, (SELECT a FROM secretrows)))",
        "SELECT length(load_file('/etc/passwd')) > 0",
        "SELECT 'pwned' INTO OUTFILE '/tmp/by_check'",
        "SELECT 'pwned' INTO DUMPFILE '/tmp/by_check'",
    ),
}


@pytest.mark.parametrize("plain", ["postgresql", "mariadb"], indirect=True)
def test_a_check_reads_and_repeats_nothing(fleet: Fleet, plain: URL) -> None:
    kind = "postgresql" if plain.get_backend_name() == "postgresql" else "mariadb"
    one = member(fleet, plain)
    assert one.query("SELECT count(*) = 1 FROM secretrows;")
    assert one.query("WITH x AS (SELECT 1 AS n) SELECT n FROM x ORDER BY n -- all")
    assert not one.query("SELECT a FROM secretrows WHERE a = 'nobody'")
    for query in HOSTILE[kind]:
        assert outcome(one, query) in ("False", "The query of the check failed."), query
    assert one.query(f"SELECT count(*) = 1 FROM secretrows WHERE a = '{SECRET}'")


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_a_user_who_may_do_more_than_read_is_sent_no_query(
    backend: str, fleet: Fleet, fresh_url: Callable[[str], URL]
) -> None:
    with pytest.raises(CheckFailed, match="could do more than read"):
        member(fleet, fresh_url(backend)).query("SELECT 1")


def test_a_query_without_an_end_is_ended(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from app.fleet.isolation import requests

    monkeypatch.setattr(requests, "CHECK_SECONDS", 0.2)
    target = member(fleet, Address.of(fleet.file("a")).url).target
    endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) "
    asked = requests.Requests(None)  # type: ignore[arg-type]
    with pytest.raises(CheckFailed, match=r"check failed\.$"):
        asked.query(target, f"{endless} SELECT count(*) FROM c")
    assert asked.query(target, f"{endless} SELECT n FROM c"), "of any number of rows one is read"
    with pytest.raises(CheckFailed, match=r"check failed\.$"):
        asked.query(target, "SELECT json_extract('{}', 'x' || 'Ada Secret')")


def test_only_an_admin_writes_the_query_of_a_check(fleet: Fleet) -> None:
    fleet.add("a")
    values = {"project_id": fleet.project_id, "selector": {}, "waves": ["100%"]}
    gate = {"check": "sql", "sql": "SELECT 1"}
    with pytest.raises(RoleInsufficient):
        rollouts.create_rollout(OPERATOR, values | {"gate": gate})
    assert rollouts.create_rollout(OPERATOR, values | {"gate": {"check": "drift"}})
    for query in (
        "SELECT 'x' INTO OUTFILE '/tmp/x'",
        "SELECT 1 /*!50000 into */ x",
        "DROP TABLE t",
    ):
        with pytest.raises(InputInvalid, match="without INTO"):
            rollouts.create_rollout(ROOT, values | {"gate": {"check": "sql", "sql": query}})


def test_what_a_database_says_stays_with_operators(fleet: Fleet) -> None:
    """A row in an error: nowhere for viewers and webhooks, whole for operators."""
    webhooks.create_webhook(ROOT, {"name": "w", "url": "http://127.0.0.1:1/x"})
    up = [f"op.execute(\"SELECT json_extract('{{}}', 'x{SECRET}')\")"]
    write_revision(fleet.scripts, "r004", "r003", up, ["pass"])
    fleet.load()
    one = fleet.add("a", "r003")
    rollout = fleet.start()
    fleet.drain()
    fresh()
    (done,) = fleet.runs_of(rollout)
    told = rollouts.get_rollout(ROOT, rollout.id)
    assert told.stage == "halted"
    assert "a: A revision failed (migration-failed)." in (told.reason or "")

    def all_of(actor: object) -> str:
        fresh()
        shown = runs.get_run(actor, done.id)  # type: ignore[arg-type]
        found = [shown.error, shown.log]
        found += [one.error for one in runs.list_runs(actor, limit=9)[0]]  # type: ignore[arg-type]
        found += export.as_json_lines(export.rows(actor, rollout_id=rollout.id))  # type: ignore[arg-type]
        found += export.as_csv(export.rows(actor, rollout_id=rollout.id))  # type: ignore[arg-type]
        found += [repr(progress(actor, rollout.id))]  # type: ignore[arg-type]
        found += [repr(overview.failed_lately(actor, limit=9))]  # type: ignore[arg-type]
        found += [db.session.get_one(Database, one.id).reason]
        return "\n".join(filter(None, found))

    bodies = [
        json.dumps(body, default=str) for body in db.session.scalars(sa.select(Delivery.body))
    ]
    assert bodies
    assert SECRET not in "".join(bodies)
    # The statement itself is the script's, which everybody may read.
    assert SECRET in all_of(OPERATOR)
    assert "JSON path error" in all_of(OPERATOR)
    assert "JSON path error" not in all_of(VIEWER)
