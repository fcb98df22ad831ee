"""Rows before a revision, rows after it, and down again: one test for each, `test_<revision>_…`."""

import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet.addresses import arguments
from tests.migrations.conftest import HEAD, REVISIONS, Catalog, open_catalog

ZOE = {"id": 1, "name": "Zoë 田中", "description": "Σοφία, 🚂"}
IPV4 = "192.168.100.200"
IPV6 = "2001:0db8:85a3:0000:0000:8a2e:0370:7334"
LONGEST = "0000:0000:0000:0000:0000:ffff:192.168.100.200"
ACCOUNTS = "SELECT id, name, description FROM account ORDER BY id"


def test_every_revision_has_a_data_test() -> None:
    tests = [name.split("_")[1] for name in globals() if name.startswith("test_c")]
    assert sorted(set(tests)) == REVISIONS


def test_c0001_keeps_text_in_any_script(catalog: Catalog) -> None:
    catalog.up("c0001")
    catalog.insert("account", ZOE, {"id": 2, "name": "n" * 128, "description": "é" * 200})
    assert catalog.rows(ACCOUNTS) == [tuple(ZOE.values()), (2, "n" * 128, "é" * 200)]
    catalog.down("base")
    assert catalog.schema() == {}


def test_c0002_adds_four_columns_and_takes_only_them_away(catalog: Catalog) -> None:
    catalog.up("c0001")
    catalog.insert("account", ZOE)
    catalog.up("c0002")
    added = "SELECT name, birthdate, email, ip_source, location FROM account"
    assert catalog.rows(added) == [(ZOE["name"], None, None, None, None)]
    catalog.execute("UPDATE account SET email = 'zoe@example.org', location = 'Tōkyō'")
    catalog.down("c0001")
    assert catalog.rows(ACCOUNTS) == [tuple(ZOE.values())]


def test_c0003_makes_room_and_forgets_on_the_way_down_what_does_not_fit(catalog: Catalog) -> None:
    catalog.up("c0002")
    before = [(1, IPV4), (2, None), (3, "2001:db8::1"), (4, "abcd:ef01::12:34")]
    for id_, address in before:
        catalog.insert("account", {"id": id_, "name": "a", "ip_source": address})
    catalog.up("c0003")
    query = "SELECT id, ip_source FROM account ORDER BY id"
    assert catalog.rows(query) == before
    for id_, address in ((5, IPV6), (6, LONGEST)):
        catalog.insert("account", {"id": id_, "name": "a", "ip_source": address})
    assert catalog.rows(query) == [*before, (5, IPV6), (6, LONGEST)]
    catalog.down("c0002")
    assert catalog.rows(query) == [*before, (5, None), (6, None)]


CREATED, UPDATED = "2022-04-25 21:41:11", "2022-04-26 23:16:56"
TIMES = [(1, CREATED, UPDATED), (2, CREATED, None), (3, None, UPDATED), (4, None, None)]


def test_c0004_takes_times_for_utc_and_fills_the_missing(catalog: Catalog) -> None:
    began = _now()
    catalog.up("c0003")
    _insert_times(catalog)
    catalog.up("c0004")
    *known, (_, created, updated) = catalog.rows(
        "SELECT id, created_at, updated_at FROM account ORDER BY id"
    )
    assert known == [(1, CREATED, UPDATED), (2, CREATED, CREATED), (3, UPDATED, UPDATED)]
    assert created == updated
    assert began - timedelta(seconds=1) <= datetime.fromisoformat(created) <= _now()
    catalog.execute("INSERT INTO account (id, name) VALUES (5, 'by the server')")
    ((filled,),) = catalog.rows("SELECT created_at FROM account WHERE id = 5")
    assert began - timedelta(seconds=1) <= datetime.fromisoformat(filled) <= _now()
    catalog.down("c0003")
    back = catalog.rows("SELECT id, created, updated FROM account WHERE id <= 3 ORDER BY id")
    assert back == known
    catalog.execute("INSERT INTO account (id, name) VALUES (6, 'as before')")
    assert catalog.rows("SELECT created, updated FROM account WHERE id = 6") == [(None, None)]


def test_c0004_is_right_on_a_server_that_lives_in_another_zone(postgresql_url: URL) -> None:
    _server(postgresql_url, f"ALTER DATABASE {postgresql_url.database} SET timezone = 'Asia/Tokyo'")
    for catalog in open_catalog(postgresql_url):
        catalog.up("c0003")
        _insert_times(catalog)
        catalog.up("c0004")
        *known, (_, filled) = catalog.rows("SELECT id, created_at FROM account ORDER BY id")
        assert known == [(1, CREATED), (2, CREATED), (3, UPDATED)]
        assert abs(datetime.fromisoformat(filled) - _now()) < timedelta(minutes=1)
        catalog.down("c0003")
        assert catalog.rows("SELECT created FROM account WHERE id = 1") == [(CREATED,)]


def _insert_times(catalog: Catalog) -> None:
    for id_, created, updated in TIMES:
        row = {"id": id_, "name": "a", "created": created, "updated": updated}
        if catalog.backend == "sqlite":  # as its own DateTime writes it
            row |= {k: f"{row[k]}.000000" for k in ("created", "updated") if row[k]}
        catalog.insert("account", row)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def test_c0005_keeps_the_day_and_drops_the_hour(catalog: Catalog) -> None:
    catalog.up("c0004")
    births = [
        (1, "1815-12-10 00:00:00.000000"),
        (2, "1990-02-28 23:59:59"),
        (3, None),
        (4, "2000-02-29 12:00:00.500000"),
        (5, "0987-01-02 00:00:00"),
    ]
    for id_, birthdate in births:
        catalog.insert("account", {"id": id_, "name": "a", "birthdate": birthdate})
    catalog.up("c0005")
    query = "SELECT id, birthdate FROM account ORDER BY id"
    days = [(id_, birthdate and birthdate[:10]) for id_, birthdate in births]
    assert catalog.rows(query) == days
    catalog.down("c0004")
    assert catalog.rows(query) == [(id_, day and f"{day} 00:00:00") for id_, day in days]


def test_c0006_makes_everybody_a_viewer(catalog: Catalog) -> None:
    catalog.up("c0005")
    catalog.insert("account", ZOE)
    catalog.up("c0006")
    query = "SELECT id, role, version FROM account ORDER BY id"
    assert catalog.rows(query) == [(1, "viewer", 1)]
    catalog.execute("UPDATE account SET role = 'admin', version = 7")
    with pytest.raises(sa.exc.DBAPIError, match="ck_account_role"):
        catalog.execute("UPDATE account SET role = 'king'")
    catalog.down("c0005")
    assert catalog.rows(ACCOUNTS) == [tuple(ZOE.values())]
    catalog.up("c0006")
    assert catalog.rows(query) == [(1, "viewer", 1)]


TOKEN = {"account_id": 1, "name": "Laptop", "prefix": "Ab", "digest": "0" * 64, "one_time": False}


def test_c0007_adds_tokens_that_go_with_their_account(catalog: Catalog) -> None:
    catalog.up("c0006")
    catalog.insert("account", ZOE, {**ZOE, "id": 2})
    catalog.up("c0007")
    catalog.insert("token", TOKEN, {**TOKEN, "account_id": 2, "prefix": "aB"})
    query = "SELECT account_id, prefix, created_at IS NULL, expires_at FROM token ORDER BY id"
    assert catalog.rows(query) == [(1, "Ab", 0, None), (2, "aB", 0, None)]
    with pytest.raises(sa.exc.IntegrityError):
        catalog.insert("token", TOKEN)
    catalog.execute("DELETE FROM account WHERE id = 2")
    assert catalog.rows(query) == [(1, "Ab", 0, None)]
    catalog.down("c0006")
    assert catalog.rows(ACCOUNTS) == [tuple(ZOE.values())]


def test_c0008_adds_an_audit_trail_that_outlives_its_subjects(catalog: Catalog) -> None:
    catalog.up("c0007")
    catalog.insert("account", ZOE)
    catalog.insert("token", TOKEN)
    catalog.up("c0008")
    catalog.insert("event", _event(1, {"name": ZOE["name"]}))
    catalog.execute("DELETE FROM account")
    ((id_, name, at_missing, detail),) = catalog.rows(
        "SELECT subject_id, actor_name, at IS NULL, detail FROM event"
    )
    assert (id_, name, at_missing) == (1, ZOE["name"], 0)
    assert _json(detail) == {"name": ZOE["name"]}
    catalog.insert("account", ZOE)
    catalog.down("c0007")
    assert catalog.rows(ACCOUNTS) == [tuple(ZOE.values())]


def _event(subject: int, detail: dict[str, Any]) -> dict[str, Any]:
    return {
        "actor_name": ZOE["name"],
        "action": "account.created",
        "subject_type": "account",
        "subject_id": subject,
        "detail": json.dumps(detail),
    }


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


EMAILS = [
    (1, " Ada@Example.org", "ada@example.org"),
    (2, "ada@example.org", None),
    (3, "", None),
    (4, " \t", None),
    (5, None, None),
    (6, "ADA@EXAMPLE.ORG", None),
    (7, "Bob@example.org\n", "bob@example.org"),
    (8, "zoë@example.org", "zoë@example.org"),
    (9, "zoe@example.org", "zoe@example.org"),
    (10, "ZOË@example.org", None),
    (11, "ΣΟΦΊΑ@example.org", "σοφία@example.org"),
]


def test_c0009_leaves_an_address_to_its_oldest_account(catalog: Catalog) -> None:
    catalog.up("c0008")
    catalog.insert("account", *({"id": i, "name": "a", "email": e} for i, e, _ in EMAILS))
    catalog.insert("event", _event(1, {}))
    catalog.up("c0009")
    query = "SELECT id, email FROM account ORDER BY id"
    kept = [(id_, email) for id_, _, email in EMAILS]
    assert catalog.rows(query) == kept
    told = catalog.rows(
        "SELECT subject_id, actor_name, detail FROM event "
        "WHERE action = 'account.email_cleared' ORDER BY subject_id"
    )
    assert [(id_, who, _json(detail)["email"]) for id_, who, detail in told] == [
        (2, "revision c0009", "ada@example.org"),
        (6, "revision c0009", "ada@example.org"),
        (10, "revision c0009", "zoë@example.org"),
    ]
    with pytest.raises(sa.exc.IntegrityError):
        catalog.insert("account", {"id": 99, "name": "b", "email": "ada@example.org"})
    catalog.down("c0008")
    assert catalog.rows(query) == kept
    assert catalog.rows("SELECT count(*) FROM event") == [(4,)]
    catalog.insert("account", {"id": 99, "name": "b", "email": "ada@example.org"})


def test_c0010_adds_keys_that_belong_to_an_account(catalog: Catalog) -> None:
    catalog.up("c0009")
    catalog.insert("account", ZOE, {**ZOE, "id": 2})
    catalog.up("c0010")
    catalog.insert("idempotency_key", *(_key(1, key) for key in "éeE"), _key(2, "é"))
    with pytest.raises(sa.exc.IntegrityError):
        catalog.insert("idempotency_key", _key(1, "é"))
    catalog.execute("DELETE FROM account WHERE id = 1")
    assert catalog.rows("SELECT account_id FROM idempotency_key") == [(2,)]
    catalog.down("c0009")
    assert catalog.rows("SELECT id FROM account") == [(2,)]


def _key(account_id: int, key: str) -> dict[str, Any]:
    return {"account_id": account_id, "key": key, "fingerprint": "0" * 64, "subject_id": 1}


# --- the fleet ----------------------------------------------------------------------------------

PROJECT = {
    "id": 1,
    "name": "Crm",
    "location": "/projects/crm",
    "notes": "Σοφία, 🚂",
} | dict.fromkeys(("x", "environment"), "{}")
PROJECT |= {"heads": '["ab12"]'}
DATABASE = {
    "id": 1,
    "project_id": 1,
    "owner_id": 1,
    "name": "zoë",
    "notes": "🚂",
    "address": "sqlite:////data/zoë.db",
    "identity": "0" * 64,
    "position": "behind",
    "current": "ab12+cd34",
}


def _with_fleet(catalog: Catalog) -> None:
    """An account and two projects, each with a database of one name."""
    catalog.insert("account", ZOE)
    catalog.insert("project", PROJECT, {**PROJECT, "id": 2, "name": "crm"})
    other = {**DATABASE, "id": 2, "project_id": 2, "identity": None, "owner_id": None}
    catalog.insert("database", DATABASE, other)


def _refused(catalog: Catalog, table: str, row: dict[str, Any]) -> None:
    # PyMySQL calls what a CHECK refuses an OperationalError.
    with pytest.raises(sa.exc.DBAPIError) as refused:
        catalog.insert(table, row)
    is_check = "CONSTRAINT `ck_" in str(refused.value)
    assert isinstance(refused.value, sa.exc.IntegrityError) or is_check


def test_c0011_adds_projects_and_databases(catalog: Catalog) -> None:
    catalog.up("c0010")
    catalog.insert("account", {**ZOE, "id": 2})
    catalog.up("c0011")
    _with_fleet(catalog)
    ((state, seconds, version, made, notes),) = catalog.rows(
        "SELECT state, refresh_seconds, version, created_at IS NULL, notes FROM project WHERE id = 1"
    )
    assert (state, seconds, version, made, notes) == ("waiting", 300, 1, 0, "Σοφία, 🚂")
    catalog.execute("UPDATE database SET url = :url", {"url": "x" * 70_000})
    query = "SELECT id, name, strategy, version, owner_id, url FROM database ORDER BY id"
    url = "x" * 70_000
    assert catalog.rows(query) == [
        (1, "zoë", "wave", 1, 1, url),
        (2, "zoë", "wave", 1, None, url),
    ]
    labels = [{"database_id": 1, "name": n, "value": "gold"} for n in ("tier", "Tier", "tïer")]
    catalog.insert("label", *labels, {**labels[0], "database_id": 2})
    standing = {"project_id": 1, "position": "behind", "current": "ab12", "databases": 1}
    catalog.insert("standing", standing, {**standing, "current": "AB12"})
    _refused(catalog, "project", {**PROJECT, "id": 3})
    _refused(catalog, "database", {**DATABASE, "id": 3, "identity": None})
    _refused(catalog, "database", {**DATABASE, "id": 3, "name": "Zoë"})
    _refused(catalog, "database", {**DATABASE, "id": 3, "project_id": 9, "identity": None})
    _refused(catalog, "label", labels[0])
    _refused(catalog, "standing", standing)
    retired = {**DATABASE, "identity": None}
    catalog.insert("database", {**retired, "id": 4, "name": "a"}, {**retired, "id": 5, "name": "b"})
    with pytest.raises(sa.exc.IntegrityError):
        catalog.execute("DELETE FROM project WHERE id = 1")
    catalog.execute("DELETE FROM account WHERE id = 1")
    assert catalog.rows("SELECT DISTINCT owner_id FROM database") == [(None,)]
    catalog.execute("DELETE FROM database WHERE id IN (1, 4, 5)")
    assert catalog.rows("SELECT database_id FROM label") == [(2,)]
    catalog.execute("DELETE FROM project WHERE id = 1")
    assert catalog.rows("SELECT count(*) FROM standing") == [(0,)]
    catalog.down("c0010")
    assert catalog.rows("SELECT id FROM account") == [(2,)]


REVISION: dict[str, Any] = {
    "project_id": 1,
    "revision": "ab12",
    "checksum": "0" * 64,
    **dict.fromkeys(("parents", "depends_on", "labels"), "[]"),
    "message": "Σοφία",
    "path": "ab12_sofia.py",
    "script": "é" * 70_000,
    "sql": "{}",
    "place": 0,
    "present": True,
}
DIFFERENCE = {"project_id": 1, "database_id": 1, "digest": "0" * 64, "says": "é" * 70_000}
IGNORED = {"project_id": 1, "digest": "0" * 64, "says": "s", "reason": "🚂", "by_name": "Zoë"}


def test_c0012_adds_a_register_and_what_differs_from_it(catalog: Catalog) -> None:
    catalog.up("c0011")
    _with_fleet(catalog)
    catalog.up("c0012")
    edited = {**REVISION, "checksum": "1" * 64}
    catalog.insert("revision", REVISION, edited, {**REVISION, "revision": "AB12"})
    catalog.insert("difference", DIFFERENCE, DIFFERENCE, {**DIFFERENCE, "database_id": 2})
    catalog.insert("ignored", IGNORED, {**IGNORED, "project_id": 2})
    _refused(catalog, "revision", REVISION)
    _refused(catalog, "revision", {**REVISION, "project_id": 9})
    _refused(catalog, "difference", {**DIFFERENCE, "database_id": 9})
    _refused(catalog, "ignored", IGNORED)
    query = "SELECT revision, message, script, first_seen_at IS NULL FROM revision ORDER BY id"
    kept = ("Σοφία", "é" * 70_000, 0)
    assert catalog.rows(query) == [("ab12", *kept), ("ab12", *kept), ("AB12", *kept)]
    catalog.execute("DELETE FROM database WHERE id = 1")
    assert catalog.rows("SELECT database_id, says FROM difference") == [(2, DIFFERENCE["says"])]
    catalog.execute("DELETE FROM project WHERE id = 1")
    for table, left in (("revision", 0), ("ignored", 1), ("difference", 0)):
        assert catalog.rows(f"SELECT count(*) FROM {table}") == [(left,)], table
    catalog.down("c0011")
    assert catalog.rows("SELECT id, name FROM database") == [(2, DATABASE["name"])]
    assert catalog.rows(ACCOUNTS) == [tuple(ZOE.values())]


ROLLOUT: dict[str, Any] = {
    "id": 1,
    "project_id": 1,
    "title": "🚂",
    "kind": "upgrade",
    "target": "heads",
    "selector": '{"labels": {"tier": "gold"}}',
    "waves": '["1", "100%"]',
    "sizes": "[1, 1]",
    "gate": "{}",
    "concurrency": 8,
    "per_server": 4,
    "timeout_seconds": 600.5,
    "snapshot": False,
    "retreat": True,
    "by_hand": False,
    "by_name": "Zoë",
}
RUN = {"rollout_id": 1, "database_id": 1, "kind": "upgrade", "wave": 0, "seq": 0}
APPROVAL = {"rollout_id": 1, "wave": 0, "account_id": 1, "account_name": "Zoë"}
WORKER = {"name": "a:1", "host": "a", "pid": 1, "release": "1", "engine": "embedded"}
ENDED_AT = datetime(2026, 2, 28, 12)  # noqa: DTZ001
LEASE = {"name": "tick", "holder": "a:1", "until": ENDED_AT}


def _with_rollout(catalog: Catalog) -> None:
    catalog.insert("rollout", ROLLOUT)
    catalog.insert("run", RUN)
    catalog.insert("run", {**RUN, "before": "é" * 255, "error": "🚂" * 20_000})
    catalog.insert("run_sql", {"digest": "0" * 64, "text": "é" * 70_000})
    catalog.insert("approval", APPROVAL)
    catalog.insert("worker", WORKER, {**WORKER, "name": "A:1"})
    catalog.insert("lease", LEASE, {**LEASE, "name": "Tick"})


def test_c0013_adds_rollouts_runs_and_workers(catalog: Catalog) -> None:
    catalog.up("c0012")
    _with_fleet(catalog)
    catalog.insert("revision", REVISION)
    catalog.up("c0013")
    _with_rollout(catalog)
    rollout = "SELECT title, stage, wave, version, timeout_seconds, retreat, selector FROM rollout"
    ((*told, selector),) = catalog.rows(rollout)
    assert told == ["🚂", "pending", 0, 1, 600.5, 1]
    assert _json(selector) == {"labels": {"tier": "gold"}}
    run = "SELECT state, attempt, before, error, created_at IS NULL FROM run ORDER BY id"
    if catalog.backend in ("mysql", "mariadb"):
        run = run.replace("before", "`before`")
    assert catalog.rows(run) == [
        ("pending", 1, None, None, 0),
        ("pending", 1, "é" * 255, "🚂" * 20_000, 0),
    ]
    for table, row in (("approval", APPROVAL), ("worker", WORKER), ("lease", LEASE)):
        _refused(catalog, table, row)
    for table, row in (("run", RUN), ("approval", {**APPROVAL, "wave": 1})):
        _refused(catalog, table, {**row, "rollout_id": 9})
    for table in ("database", "rollout", "project"):  # a run is kept for ever
        with pytest.raises(sa.exc.IntegrityError):
            catalog.execute(f"DELETE FROM {table}")
    assert (
        catalog.rows("SELECT done, beat_at IS NULL, stopped_at FROM worker") == [(0, 0, None)] * 2
    )
    catalog.down("c0012")
    assert catalog.rows("SELECT revision FROM revision") == [("ab12",)]
    assert catalog.rows("SELECT id, current FROM database WHERE id = 1") == [(1, "ab12+cd34")]
    assert catalog.rows(ACCOUNTS) == [tuple(ZOE.values())]


WEBHOOK = {
    "id": 1,
    "name": "Zoë",
    "url": "u" * 70_000,
    "address": "https://example.org",
    "secret": "s",
    "events": '["rollout.halted"]',
    "by_name": "Zoë",
}
DELIVERY = {"webhook_id": 1, "event": "rollout.halted", "body": '{"a": "🚂"}', "state": "pending"}


def test_c0014_adds_webhooks_that_take_their_deliveries_with_them(catalog: Catalog) -> None:
    catalog.up("c0013")
    _with_fleet(catalog)
    _with_rollout(catalog)
    catalog.up("c0014")
    catalog.insert("webhook", WEBHOOK, {**WEBHOOK, "id": 2})
    catalog.insert("delivery", DELIVERY, DELIVERY, {**DELIVERY, "webhook_id": 2})
    _refused(catalog, "delivery", {**DELIVERY, "webhook_id": 9})
    ((url, events),) = catalog.rows("SELECT url, events FROM webhook WHERE id = 1")
    assert (url, _json(events)) == (WEBHOOK["url"], ["rollout.halted"])
    query = "SELECT webhook_id, body, attempts, next_at IS NULL FROM delivery ORDER BY id"
    told = [(id_, _json(body), *rest) for id_, body, *rest in catalog.rows(query)]
    assert told == [(1, {"a": "🚂"}, 0, 0)] * 2 + [(2, {"a": "🚂"}, 0, 0)]
    catalog.execute("DELETE FROM webhook WHERE id = 1")
    assert catalog.rows("SELECT webhook_id FROM delivery") == [(2,)]
    catalog.down("c0013")
    assert catalog.rows("SELECT count(*) FROM run") == [(2,)]
    assert catalog.rows(ACCOUNTS) == [tuple(ZOE.values())]


BOOT = {
    "host": "é",
    "pid": 1,
    "release": "1",
    "revision_from": "c0014",
    "revision_to": "c0015",
    "state": "head",
    "seconds": 1.5,
}
RUNS = "SELECT id, kind, state, attempt, error FROM run ORDER BY id"
TALLIES = "SELECT kind, wave, runs, succeeded, seconds FROM run_tally ORDER BY id"
BOUND = {"oidc_issuer": "https://id.example.org", "oidc_subject": "é"}


def test_c0015_adds_passwords_a_provider_and_boots(catalog: Catalog) -> None:
    catalog.up("c0014")
    catalog.insert("account", ZOE, {**ZOE, "id": 2})
    catalog.insert("token", TOKEN, {**TOKEN, "account_id": 2, "prefix": "aB"})
    catalog.up("c0015")
    new = "password_hash, password_set_at, oidc_issuer, oidc_subject, disabled_at"
    assert catalog.rows(f"SELECT {new} FROM account") == [(None,) * 5] * 2
    catalog.insert("account", {**ZOE, "id": 3, **BOUND, "password_hash": "é" * 255})
    catalog.insert("account", {**ZOE, "id": 4, **BOUND, "oidc_subject": "É"})
    _refused(catalog, "account", {**ZOE, "id": 5, **BOUND})
    catalog.insert("boot", BOOT, BOOT)
    assert catalog.rows("SELECT id, seconds, at IS NULL FROM boot") == [(1, 1.5, 0), (2, 1.5, 0)]
    catalog.execute("UPDATE account SET disabled_at = '2026-02-28 12:00:00' WHERE id = 2")
    catalog.down("c0014")
    # A release that does not know that an account is disabled must not let it in.
    assert catalog.rows("SELECT account_id, revoked_at IS NULL FROM token ORDER BY id") == [
        (1, 1),
        (2, 0),
    ]
    assert catalog.rows(ACCOUNTS) == [(number, *list(ZOE.values())[1:]) for number in (1, 2, 3, 4)]


def test_c0016_tells_sessions_from_tokens_and_ends_narrow_ones_on_the_way_down(
    catalog: Catalog,
) -> None:
    catalog.up("c0015")
    catalog.insert("account", ZOE)
    names = ("browser", "browser", "Laptop", "invitation")
    for number, name in enumerate(names, 1):
        own = {"id": number, "name": name, "prefix": f"p{number}", "one_time": number == 4}
        catalog.insert("token", {**TOKEN, **own})
    told = [(1, "token.signed_in"), (2, "token.created"), (3, "token.signed_in")]
    for subject, action in told:
        catalog.insert("event", {**_event(subject, {}), "subject_type": "token", "action": action})
    catalog.insert("event", {**_event(2, {}), "action": "token.signed_in"})  # of account 2
    catalog.up("c0016")
    kinds = "SELECT kind, scope, proven_at FROM token ORDER BY id"
    expected = ["session", "api", "api", "invitation"]
    assert catalog.rows(kinds) == [(kind, None, None) for kind in expected]
    # A release from before, beside this one, says no kind: it gets the one that can do least.
    catalog.insert("token", {**TOKEN, "id": 5, "prefix": "p5"})
    assert catalog.rows(kinds)[-1] == ("session", None, None)
    catalog.execute("UPDATE token SET scope = 'read' WHERE id = 3")
    limit = {"key": "é" * 64, "refused": 1, "last_at": datetime(2026, 2, 28, tzinfo=UTC)}
    catalog.insert("sign_in_limit", limit, {**limit, "key": "É" * 64})
    _refused(catalog, "sign_in_limit", limit)
    catalog.down("c0015")
    ended = "SELECT id FROM token WHERE revoked_at IS NOT NULL"
    assert catalog.rows(ended) == [(3,)], "it would have all rights there"
    assert catalog.rows("SELECT name FROM token ORDER BY id") == [
        *((name,) for name in names),
        ("Laptop",),
    ]
    assert catalog.rows(ACCOUNTS) == [tuple(ZOE.values())]


def test_c0017_adds_rights_in_projects_and_shuts_members_out_on_the_way_down(
    catalog: Catalog,
) -> None:
    catalog.up("c0016")
    _with_fleet(catalog)
    _with_rollout(catalog)
    catalog.insert("token", TOKEN)
    member = {**ZOE, "id": 2, "role": "member"}
    _refused(catalog, "account", member)
    catalog.up("c0017")
    catalog.insert("account", member, {**member, "id": 3})
    catalog.execute("UPDATE account SET disabled_at = '2026-02-28 12:00:00' WHERE id = 3")
    catalog.insert("account", {**ZOE, "id": 4, "role": "operator"})
    _refused(catalog, "account", {**ZOE, "id": 5, "role": "owner"})
    assert catalog.rows("SELECT requires_approval FROM project") == [(0,)] * len(
        catalog.rows("SELECT id FROM project")
    )
    assert set(catalog.rows("SELECT asked_by_id, asked_by_name FROM rollout")) == {(None, None)}
    grant = {"account_id": 2, "project_id": 1, "role": "admin"}
    catalog.insert("project_grant", grant, {**grant, "account_id": 4, "role": "viewer"})
    assert catalog.rows("SELECT created_at IS NULL FROM project_grant") == [(0,)] * 2
    for wrong in ({}, {"account_id": 9}, {"project_id": 9}, {"account_id": 3, "role": "member"}):
        _refused(catalog, "project_grant", {**grant, **wrong})
    catalog.execute("DELETE FROM account WHERE id = 4")
    assert catalog.rows("SELECT account_id, role FROM project_grant") == [(2, "admin")]
    catalog.execute("UPDATE project SET requires_approval = '1' WHERE id = 1")
    catalog.down("c0016")
    roles = "SELECT id, role, disabled_at IS NULL FROM account ORDER BY id"
    shut = [(2, "viewer", 0), (3, "viewer", 0)]
    assert catalog.rows(roles) == [(1, "viewer", 1), *shut], "as viewers they would see all"
    since = "SELECT disabled_at FROM account WHERE id = 3"
    assert catalog.rows(since) == [("2026-02-28 12:00:00",)]
    assert catalog.rows("SELECT count(*) FROM token") == [(1,)]
    _refused(catalog, "account", {**ZOE, "id": 6, "role": "member"})
    assert catalog.rows("SELECT name FROM account WHERE id = 1") == [(ZOE["name"],)]


def test_c0018_keeps_what_was_text_and_is_a_placeholder_now(catalog: Catalog) -> None:
    catalog.up("c0017")
    _with_fleet(catalog)
    _with_rollout(catalog)
    kept = {"a": "{name} {{name}} {label.tier}", "b": '{"a":1} {', "c": ""}
    catalog.execute("UPDATE project SET x = :x WHERE id = 1", {"x": json.dumps(kept)})
    catalog.up("c0018")
    found = "SELECT x FROM project WHERE id = 1"
    escaped = {**kept, "a": "{{name}} {{{name}}} {{label.tier}}"}
    assert _json(catalog.rows(found)[0][0]) == escaped
    assert arguments.literal(escaped) == kept, "env.py gets what it got"
    assert set(catalog.rows("SELECT x FROM run")) == {(None,)}
    catalog.down("c0017")
    assert _json(catalog.rows(found)[0][0]) == kept


def test_c0019_goes_on_sending_what_webhooks_were_sent(catalog: Catalog) -> None:
    catalog.up("c0018")
    catalog.insert("webhook", WEBHOOK)
    catalog.insert("delivery", DELIVERY)
    catalog.up("c0019")
    catalog.insert("webhook", {**WEBHOOK, "id": 2, "format": "slack"})
    formats = "SELECT id, format FROM webhook ORDER BY id"
    assert catalog.rows(formats) == [(1, "json"), (2, "slack")]
    catalog.down("c0018")
    assert catalog.rows("SELECT id FROM webhook ORDER BY id") == [(1,), (2,)]
    assert catalog.rows("SELECT webhook_id FROM delivery") == [(1,)]
    catalog.up("c0019")
    assert catalog.rows(formats) == [(1, "json"), (2, "json")]


def test_c0020_counts_the_runs_and_the_labels_that_are_there(catalog: Catalog) -> None:
    catalog.up("c0019")
    _with_fleet(catalog)
    _with_rollout(catalog)
    gold = {"database_id": 1, "name": "tier", "value": "gold"}
    catalog.insert("label", gold, {**gold, "name": "Tier"}, {**gold, "database_id": 2})
    ended = {
        **RUN,
        "state": "succeeded",
        "finished_at": ENDED_AT,
        "seconds": 1.5,
        "replaced_by": None,
    }
    catalog.insert("run", ended, {**ended, "wave": 1}, {**ended, "replaced_by": 1})
    catalog.insert("run", {**ended, "state": "failed", "seconds": None})
    catalog.up("c0020")
    columns = "rollout_id, kind, wave, runs, succeeded, seconds, at"
    assert catalog.rows(f"SELECT {columns} FROM run_tally ORDER BY wave") == [
        (1, "upgrade", 0, 4, 1, 1.5, None),
        (1, "upgrade", 1, 1, 1, 1.5, None),
    ]
    labels = catalog.rows("SELECT * FROM label_count")
    assert sorted(labels) == [
        (1, "Tier", "gold", 1),
        (1, "tier", "gold", 1),
        (2, "tier", "gold", 1),
    ]
    catalog.down("c0019")
    assert len(catalog.rows("SELECT id FROM run")) == 6
    assert len(catalog.rows("SELECT name FROM label")) == 3


def test_c0021_adds_an_index_of_trigrams_where_there_are_some(catalog: Catalog) -> None:
    catalog.up("c0020")
    _with_fleet(catalog)
    catalog.up("c0021")
    assert _has_trigrams(catalog) == (catalog.backend not in ("mysql", "mariadb"))
    catalog.insert("database", {**DATABASE, "id": 3, "name": "ÉCOLE", "identity": None})
    catalog.execute("UPDATE database SET name = 'other' WHERE id = 1")
    if catalog.backend == "sqlite":
        assert [_hits(catalog, part) for part in ("zoë sq", "other", "Écol")] == [[2], [1], [3]]
    catalog.down("c0020")
    assert not _has_trigrams(catalog)
    catalog.insert("database", {**DATABASE, "id": 4, "name": "more", "identity": None})
    names = "SELECT name FROM database ORDER BY id"
    assert catalog.rows(names) == [("other",), ("zoë",), ("ÉCOLE",), ("more",)]
    catalog.up("c0021")
    if catalog.backend == "sqlite":
        assert _hits(catalog, "more sq") == [4]


def test_c0021_takes_trigrams_from_wherever_they_are(postgresql_url: URL) -> None:
    _server(postgresql_url, 'CREATE SCHEMA "Else where"')
    _server(postgresql_url, 'CREATE EXTENSION pg_trgm SCHEMA "Else where"')
    for catalog in open_catalog(postgresql_url):
        catalog.up("c0021")
        assert _has_trigrams(catalog)


def test_c0021_goes_on_without_the_right_to_trigrams(
    postgresql_url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    role = f"headway_{secrets.token_hex(4)}"
    _server(postgresql_url, f"CREATE ROLE {role}")
    _server(postgresql_url, f"GRANT ALL ON SCHEMA public TO {role}")
    _server(postgresql_url, f"ALTER DATABASE {postgresql_url.database} SET role = {role}")
    for catalog in open_catalog(postgresql_url):
        catalog.up("c0021")
        assert not _has_trigrams(catalog)
        catalog.down("c0020")
    assert "no index of trigrams: a search by a part of a name reads all names" in caplog.text
    assert "permission denied to create extension" in caplog.text
    _server(postgresql_url, f"SET ROLE NONE; DROP OWNED BY {role}; DROP ROLE {role}")


def test_c0021_goes_on_where_sqlite_knows_no_trigrams(
    sqlite_url: URL, caplog: pytest.LogCaptureFixture
) -> None:
    for catalog in open_catalog(sqlite_url):
        catalog.up("c0020")
        _with_fleet(catalog)
        with catalog.app.app_context():
            sa.event.listen(db.engine, "before_cursor_execute", _as_old_sqlite, retval=True)
        catalog.up("c0021")
        assert not _has_trigrams(catalog)
        assert "(no such tokenizer: trigram_of_later)" in caplog.text
        catalog.execute("UPDATE database SET name = 'other' WHERE id = 1")
        catalog.down("c0020")


def _as_old_sqlite(
    _connection: object, _cursor: object, statement: str, parameters: object, *_: object
) -> tuple[str, object]:
    return statement.replace("'trigram ", "'trigram_of_later "), parameters


def _has_trigrams(catalog: Catalog) -> bool:
    if catalog.backend == "sqlite":
        made = catalog.rows("SELECT name FROM sqlite_master WHERE name LIKE 'database_search%'")
        return {("database_search",), ("database_search_update",)} <= set(made)
    if catalog.backend == "postgresql":
        return bool(catalog.rows("SELECT 1 FROM pg_indexes WHERE indexname = 'ix_database_sought'"))
    return False


def _hits(catalog: Catalog, part: str) -> list[int]:
    found = f"SELECT rowid FROM database_search WHERE database_search MATCH '\"{part}\"'"
    return [id_ for (id_,) in catalog.rows(found)]


def test_c0022_keeps_the_boots_that_were(catalog: Catalog) -> None:
    catalog.up("c0021")
    boots = "SELECT id, host, state, seconds FROM boot"
    catalog.insert("boot", BOOT)
    before = catalog.rows(boots)
    catalog.up("c0022")
    catalog.execute("UPDATE boot SET address = 'https://headway.example.org'")
    assert catalog.rows(boots) == before
    catalog.down("c0021")
    assert catalog.rows(boots) == before


def test_c0023_keeps_runs_and_their_counts(catalog: Catalog) -> None:
    catalog.up("c0022")
    _with_fleet(catalog)
    _with_rollout(catalog)
    tally = {"rollout_id": 1, "kind": "check", "wave": 0, "runs": 2, "succeeded": 1, "seconds": 0.5}
    catalog.insert("run_tally", tally)
    before = catalog.rows(RUNS), catalog.rows(TALLIES)
    catalog.up("c0023")
    assert catalog.rows("SELECT DISTINCT differences FROM run") == [(None,)]
    catalog.insert("run_tally", tally)  # by a worker of the release before
    assert catalog.rows("SELECT differing FROM run_tally") == [(0,), (0,)]
    catalog.execute("DELETE FROM run_tally WHERE id = 2")
    catalog.down("c0022")
    assert (catalog.rows(RUNS), catalog.rows(TALLIES)) == before


def test_a_full_catalog_goes_down_and_up_and_keeps_its_accounts(catalog: Catalog) -> None:
    catalog.up(HEAD)
    _with_fleet(catalog)
    _with_rollout(catalog)
    catalog.insert("label", {"database_id": 1, "name": "tier", "value": "gold"})
    catalog.insert("revision", REVISION)
    catalog.insert("difference", DIFFERENCE)
    catalog.insert("ignored", IGNORED)
    catalog.insert("webhook", WEBHOOK)
    catalog.insert("delivery", DELIVERY)
    catalog.insert("account", {**ZOE, "id": 2})
    catalog.insert("token", TOKEN)
    catalog.insert("event", _event(1, {}))
    catalog.insert("idempotency_key", _key(1, "k"))
    catalog.down("c0001")
    accounts = [tuple(ZOE.values()), (2, *list(ZOE.values())[1:])]
    assert catalog.rows(ACCOUNTS) == accounts
    catalog.up(HEAD)
    assert catalog.rows(ACCOUNTS) == accounts


def test_a_server_that_makes_latin1_tables_keeps_text_in_any_script(mariadb_url: URL) -> None:
    _server(mariadb_url, f"ALTER DATABASE {mariadb_url.database} CHARACTER SET latin1")
    for catalog in open_catalog(mariadb_url):
        catalog.up(HEAD)
        catalog.insert("account", ZOE)
        catalog.insert("event", _event(1, {"name": ZOE["name"]}))
        catalog.execute("UPDATE headway_history SET error = 'Σοφία' WHERE id = 1")
        assert catalog.rows(ACCOUNTS) == [tuple(ZOE.values())]
        assert catalog.rows("SELECT error FROM headway_history WHERE id = 1") == [("Σοφία",)]


def _server(url: URL, statement: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)
