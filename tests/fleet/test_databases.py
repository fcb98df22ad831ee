"""Databases: registered, found, changed, pinned, created, retired and dropped."""

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.errors import (
    AccountNotFound,
    DatabaseNotFound,
    DatabaseRegistered,
    IdempotencyKeyReused,
    InputInvalid,
    NameTaken,
    ProjectNotFound,
    RecordChanged,
    RoleInsufficient,
    SecretUnreadable,
)
from app.extensions import Base, db
from app.fleet import databases, projects
from app.fleet.addresses import urls
from app.fleet.core import audit, key_rotation
from app.fleet.core.permissions import Actor
from app.fleet.core.selectors import Selector
from app.fleet.databases import remove
from app.fleet.reports import overview
from app.models import Database, Project, Role, Rollout, Stage, Webhook
from app.models.secrets import Secret
from headway import Project as Scripts
from headway.errors import (
    AddressInvalid,
    DatabaseExists,
    HeadwayError,
    ScriptsUnreadable,
    StillNeeded,
)
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT, at_once, person
from tests.fleet.fleets import created
from tests.fleet.registry import Registry, registry_on
from tests.migrator.scripts import write_revision

SOON = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture
def registry(template_copy: URL, tmp_path: Path) -> Iterator[Registry]:
    with registry_on(template_copy, tmp_path) as made:
        yield made


@pytest.fixture
def anywhere(migrated_url: URL, tmp_path: Path) -> Iterator[Registry]:
    with registry_on(migrated_url, tmp_path) as made:
        yield made


def labels(database: Database) -> dict[str, str]:
    return {label.name: label.value for label in database.labels}


def names(found: list[Database]) -> list[str]:
    return [one.name for one in found]


def listed(**selector: Any) -> list[Database]:
    db.session.remove()
    return databases.list_databases(ROOT, Selector.of(selector), limit=100)[0]


# --- who may ---------------------------------------------------------------------------------

USE_CASES: dict[str, tuple[Role, Callable[[Actor, Registry, Database], object]]] = {
    "read": (Role.VIEWER, lambda me, _, it: databases.get_database(me, it.id)),
    "find": (Role.VIEWER, lambda me, _, it: databases.find_database(me, it.name)),
    "list": (Role.VIEWER, lambda me, _, __: databases.list_databases(me, Selector(), limit=1)),
    "overview": (Role.VIEWER, lambda me, _, __: overview.overview(me)),
    "register": (
        Role.OPERATOR,
        lambda me, r, _: databases.register_database(
            me, {"project_id": r.project_id, "url": f"{r.data}/n.db"}
        ),
    ),
    "import": (
        Role.OPERATOR,
        lambda me, r, _: databases.register_many(me, r.project_id, r.rows(1)),
    ),
    "change": (
        Role.OPERATOR,
        lambda me, _, it: databases.change_database(me, it.id, {"notes": "n"}, version=None),
    ),
    "change many": (
        Role.OPERATOR,
        lambda me, _, __: databases.change_many(me, Selector(), labels={"a": "b"}),
    ),
    "pin": (
        Role.OPERATOR,
        lambda me, _, it: databases.pin_database(me, it.id, reason="r", until=SOON),
    ),
    "unpin": (Role.OPERATOR, lambda me, _, it: databases.unpin_database(me, it.id)),
    "create": (
        Role.OPERATOR,
        lambda me, r, _: databases.create_database(
            me, {"project_id": r.project_id, "url": f"{r.data}/made.db"}
        ),
    ),
    "retire": (Role.OPERATOR, lambda me, _, it: databases.retire_database(me, it.id)),
    "drop": (
        Role.ADMIN,
        lambda me, _, it: databases.drop_database(me, it.id, confirm=it.name),
    ),
    "rotate": (Role.ADMIN, lambda me, _, __: key_rotation.rotate_keys(me)),
}


@pytest.mark.parametrize("what", USE_CASES)
def test_the_lowest_role_for_each_use_case(registry: Registry, what: str) -> None:
    it = registry.register("it")
    lowest, use_case = USE_CASES[what]
    for role in (Role.ADMIN, Role.OPERATOR, Role.VIEWER):
        _, me = person(role, role.value)
        if not role.includes(lowest):
            with pytest.raises(RoleInsufficient):
                use_case(me, registry, it)
    _, member = person(Role.MEMBER)
    found: object = None
    with contextlib.suppress(RoleInsufficient, DatabaseNotFound):
        found = use_case(member, registry, it)
    assert getattr(found, "databases", 0) == 0  # counts, a list, or nothing
    assert not (isinstance(found, tuple) and found[0])
    use_case(person(lowest, "lowest")[1], registry, it)


# --- register and find -----------------------------------------------------------------------


def test_a_database_is_kept_with_all_that_was_said_and_no_password(anywhere: Registry) -> None:
    owner, _ = person(Role.VIEWER, "Ada")
    made = anywhere.register(
        "acme",
        url="postgres://u:s3cr3t-w0rd@DB.example.org/acme",
        owner_id=owner.id,
        notes="größter Kunde",
        strategy="on_open",
        labels={"tier": "gold", "region": "eu"},
    )
    db.session.remove()
    kept = databases.get_database(ROOT, made.id)
    assert (kept.name, kept.notes, kept.strategy) == ("acme", "größter Kunde", "on_open")
    assert kept.owner
    assert (kept.owner.name, kept.project.name) == ("Ada", "shop")
    assert labels(kept) == {"tier": "gold", "region": "eu"}
    assert (kept.dialect, kept.server) == ("postgresql", "postgresql://db.example.org:5432")
    assert urls.url_of(kept).password == "s3cr3t-w0rd"
    raw = db.session.execute(sa.select(sa.table("database", sa.column("url")))).all()
    assert "s3cr3t-w0rd" not in str(raw)
    (event, *_), _ = audit.list_events(ROOT, limit=1)
    assert event.action == "database.registered"
    assert "s3cr3t-w0rd" not in str(event.detail)
    assert anywhere.is_counted_right()


def test_a_name_follows_the_address(registry: Registry) -> None:
    for where, name in (
        ({"url": f"sqlite:///{registry.data}/acme.v2.db"}, "acme.v2"),
        ({"url": "mysql://h/acme"}, "acme"),
        ({"url": "postgresql://h/shop?schema=acme"}, "acme"),
        ({"reference": "env:ACME_URL"}, "ACME_URL"),
        ({"reference": "file:/run/secrets/acme"}, "acme"),
    ):
        made, _ = databases.register_database(ROOT, {"project_id": registry.project_id, **where})
        assert made.name == name
        databases.retire_database(ROOT, made.id)


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"project_id": 999}, ProjectNotFound),
        ({"owner_id": 999}, AccountNotFound),
        ({"owner_id": 2**40}, AccountNotFound),
        ({"name": "taken"}, NameTaken),
        ({"url": "{data}/taken.db"}, DatabaseRegistered),
        ({"url": "sqlite:///{data}/x/../taken.db"}, DatabaseRegistered),
        ({"url": None}, InputInvalid),
        ({"reference": "env:X"}, InputInvalid),
        ({"strategy": "never"}, InputInvalid),
        ({"labels": {"a b": "c"}}, InputInvalid),
        ({"labels": {"a": "\x00"}}, InputInvalid),
        ({"labels": {f"l{n}": "" for n in range(65)}}, InputInvalid),
        ({"notes": "n" * 1001}, InputInvalid),
        ({"colour": "red"}, InputInvalid),
    ],
    ids=str,
)
def test_what_cannot_be_registered_is_refused(
    anywhere: Registry, values: dict[str, Any], error: type[HeadwayError]
) -> None:
    anywhere.register("taken")
    told = {
        k: v.replace("{data}", str(anywhere.data)) if isinstance(v, str) else v
        for k, v in values.items()
    }
    asked = {"project_id": anywhere.project_id, "name": "n", "url": f"{anywhere.data}/n.db"}
    with pytest.raises(error):
        databases.register_database(ROOT, asked | told)
    assert names(listed()) == ["taken"]
    assert anywhere.is_counted_right()


def test_the_same_at_once_is_registered_once(anywhere: Registry) -> None:
    for number in range(4):
        one = {"project_id": anywhere.project_id, "url": f"{anywhere.data}/a{number}.db"}
        answers = at_once(
            anywhere.app,
            *[
                lambda n=n, one=one: databases.register_database(ROOT, one | {"name": n})
                for n in ("a", "b", "c")
            ],
        )
        made = [answer for answer in answers if isinstance(answer, tuple)]
        refused = [answer for answer in answers if not isinstance(answer, tuple)]
        assert len(made) == 1, answers
        assert all(isinstance(one, DatabaseRegistered | NameTaken) for one in refused), answers
        databases.retire_database(ROOT, made[0][0].id)
    assert anywhere.is_counted_right()


def test_the_same_key_registers_once(anywhere: Registry) -> None:
    _, me = person(Role.OPERATOR)
    values = {"project_id": anywhere.project_id, "url": "postgresql://u:s3cr3t@h/a"}
    answers = at_once(anywhere.app, *[lambda: databases.register_database(me, values, key="k")] * 3)
    assert len({one.id for one, _ in answers}) == 1, answers
    assert sorted(replayed for _, replayed in answers) == [False, True, True]


def test_it_is_found_by_name_project_and_number(anywhere: Registry) -> None:
    values = {"name": "other", "location": str(anywhere.scripts)}
    other, _ = projects.create_project(ROOT, values)
    one = anywhere.register("acme")
    two = anywhere.register("acme", url=f"{anywhere.data}/2.db", project_id=other.id)
    number = anywhere.register("1001")
    slash = anywhere.register("eu/zoe")

    def found(name: str) -> int:
        return databases.find_database(ROOT, name).id

    assert found("shop/acme") == one.id
    assert found("other/acme") == two.id
    assert found("1001") == number.id
    assert found(str(one.id)) == one.id
    assert found("eu/zoe") == found("shop/eu/zoe") == slash.id
    with pytest.raises(InputInvalid, match="shop/acme, other/acme"):
        found("acme")
    for name in ("nobody", "shop/nobody", "999", "Acme", str(2**70)):
        with pytest.raises(DatabaseNotFound):
            found(name)


# --- lists -----------------------------------------------------------------------------------


def test_a_list_is_narrowed_by_all_that_is_given(anywhere: Registry) -> None:
    ada = person(Role.VIEWER, "Ada")[0].id
    gold = {"tier": "gold"}
    anywhere.register("a", labels=gold | {"region": "eu"}, owner_id=ada)
    anywhere.register("b", labels=gold | {"region": "us"})
    anywhere.register("c", labels={"tier": "free"}, strategy="on_open")
    anywhere.register("100%_d")
    (b,) = listed(search="/b.db")
    databases.pin_database(ROOT, b.id, reason="audit", until=SOON)
    db.session.execute(
        sa.update(Database).where(Database.name == "c").values(position="behind", current="r1")
    )
    db.session.execute(sa.update(Database).where(Database.name == "a").values(drift=2))
    db.session.commit()
    for selector, found in (
        ({}, ["a", "b", "c", "100%_d"]),
        ({"project_id": anywhere.project_id}, ["a", "b", "c", "100%_d"]),
        ({"project_id": 999}, []),
        ({"labels": gold}, ["a", "b"]),
        ({"labels": gold | {"region": "us"}}, ["b"]),
        ({"labels": {"region": ""}}, ["a", "b"]),
        ({"labels": {"region": "", "tier": "gold"}, "owner_id": ada}, ["a"]),
        ({"labels": {"tier": "Gold"}}, []),
        ({"owner_id": ada}, ["a"]),
        ({"positions": ["behind"]}, ["c"]),
        ({"positions": ["unknown", "behind"]}, ["a", "b", "c", "100%_d"]),
        ({"current": "r1"}, ["c"]),
        ({"search": "%_"}, ["100%_d"]),
        ({"drifted": True}, ["a"]),
        ({"drifted": False}, []),
        ({"pinned": True}, ["b"]),
        ({"pinned": False}, ["a", "c", "100%_d"]),
        ({"strategy": "on_open"}, ["c"]),
    ):
        assert names(listed(**selector)) == found, selector


def test_pages_join_to_the_whole_list_with_few_questions(anywhere: Registry) -> None:
    databases.register_many(
        ROOT, anywhere.project_id, anywhere.rows(25, labels={"tier": "gold", "n": "1"})
    )
    for selector in (Selector(), Selector(labels={"tier": "gold", "n": "1"})):
        seen: list[str] = []
        after = None
        asked = 0

        def count(*_: object) -> None:
            nonlocal asked
            asked += 1

        while True:
            db.session.remove()
            sa.event.listen(db.engine, "before_cursor_execute", count)
            found, after = databases.list_databases(ROOT, selector, limit=10, after=after)
            seen += [f"{one.name} {labels(one)} {one.project.name} {one.owner}" for one in found]
            sa.event.remove(db.engine, "before_cursor_execute", count)
            if after is None:
                break
        assert len(seen) == len(set(seen)) == 25
        assert asked <= 3 * 5
    assert databases.list_databases(ROOT, Selector(), limit=9, after=2**40) == ([], None)


# --- change ----------------------------------------------------------------------------------


def test_what_is_given_changes_and_the_rest_stays(anywhere: Registry) -> None:
    owner, _ = person(Role.VIEWER, "Ada")
    made = anywhere.register("a", labels={"tier": "gold", "region": "eu"}, notes="n")
    values: dict[str, Any] = {"labels": {"tier": "free", "region": None, "new": "1"}}
    changed = databases.change_database(ROOT, made.id, values, version=1)
    assert labels(changed) == {"tier": "free", "new": "1"}
    assert (changed.notes, changed.version) == ("n", 2)
    values = {"owner_id": owner.id, "name": "b", "notes": None}
    changed = databases.change_database(ROOT, made.id, values, version=2)
    assert changed.owner
    assert (changed.owner.name, changed.name, changed.notes) == ("Ada", "b", None)
    assert databases.change_database(ROOT, made.id, {"name": "b"}, version=3).version == 3
    with pytest.raises(RecordChanged):
        databases.change_database(ROOT, made.id, {"notes": "x"}, version=1)
    with pytest.raises(AccountNotFound):
        databases.change_database(ROOT, made.id, {"owner_id": 999}, version=None)
    events, _ = audit.list_events(ROOT, limit=9, action="database.changed")
    assert len(events) == 2


def test_another_url_makes_where_it_stands_unknown(anywhere: Registry) -> None:
    made = anywhere.register("a")
    anywhere.register("b")
    move(made.id, "at_head", "r003")
    with pytest.raises(DatabaseRegistered):
        databases.change_database(ROOT, made.id, {"url": f"{anywhere.data}/b.db"}, version=None)
    same = {"url": f"sqlite:///{anywhere.data}/./a.db"}
    assert databases.change_database(ROOT, made.id, same, version=None).position == "at_head"
    moved = databases.change_database(
        ROOT, made.id, {"url": "postgresql://u:s3cr3t@h/a"}, version=None
    )
    assert (moved.position, moved.current, moved.dialect) == ("", "", "postgresql")
    assert urls.url_of(moved).password == "s3cr3t"
    assert anywhere.is_counted_right()
    referred = databases.change_database(ROOT, made.id, {"reference": "env:NONE"}, version=None)
    assert (referred.address, referred.identity) == ("env:NONE", None)


def move(database_id: int, position: str, current: str) -> None:
    """As a refresh does."""
    from app.fleet.core.transactions import writing
    from app.fleet.counts import positions

    with writing() as session:
        database = databases.find(session, database_id)
        before = positions.place_of(database)
        database.position, database.current = position, current
        session.flush()
        positions.shift(session, left=[before], entered=[positions.place_of(database)])


def test_of_two_changes_to_one_version_one_is_told(anywhere: Registry) -> None:
    made = anywhere.register("a")
    answers = at_once(
        anywhere.app,
        *[
            lambda n=n: databases.change_database(
                ROOT, made.id, {"labels": {"who": n}}, version=made.version
            )
            for n in ("x", "y")
        ],
    )
    assert sorted(type(answer).__name__ for answer in answers) == ["Database", "RecordChanged"]


def test_many_are_changed_at_once(anywhere: Registry) -> None:
    databases.register_many(
        ROOT, anywhere.project_id, anywhere.rows(30, labels={"tier": "gold", "old": "1"})
    )
    other = anywhere.register("other")
    version = listed()[0].version
    chosen = Selector(labels={"tier": "gold"})
    changed = databases.change_many(
        ROOT, chosen, labels={"tier": "silver", "old": None}, strategy="on_open"
    )
    assert changed == 30
    assert len(listed(labels={"tier": "silver"}, strategy="on_open")) == 30
    assert listed(labels={"old": ""}) == []
    assert listed()[0].version == version + 1
    db.session.remove()
    assert labels(databases.get_database(ROOT, other.id)) == {}
    assert databases.change_many(ROOT, Selector(project_id=999), labels={"a": "b"}) == 0
    with pytest.raises(InputInvalid):
        databases.change_many(ROOT, Selector())


@pytest.mark.parametrize(
    ("reason", "until"),
    [(" ", SOON), ("r" * 201, SOON), ("r", datetime.now(UTC)), ("r", datetime(2099, 1, 1))],  # noqa: DTZ001
    ids=["no reason", "too long", "over", "no zone"],
)
def test_a_pin_has_a_reason_and_an_end_to_come(
    registry: Registry, reason: str, until: datetime
) -> None:
    made = registry.register("a")
    with pytest.raises(InputInvalid):
        databases.pin_database(ROOT, made.id, reason=reason, until=until)


def test_a_pin_is_taken_away_again(anywhere: Registry) -> None:
    made = anywhere.register("a")
    pinned = databases.pin_database(ROOT, made.id, reason="audit", until=SOON)
    assert (pinned.pin_reason, pinned.pin_until) == ("audit", SOON)
    assert databases.unpin_database(ROOT, made.id).pin_until is None
    databases.unpin_database(ROOT, made.id)
    events, _ = audit.list_events(ROOT, limit=9, subject_type="database")
    assert [event.action for event in events] == [
        *("database.unpinned", "database.pinned", "database.registered")
    ]


# --- create ----------------------------------------------------------------------------------


def real(registry: Registry, place: str | URL) -> Any:
    url = place if isinstance(place, URL) else f"sqlite:///{place}"
    return Scripts.load(registry.scripts).at(url).status()


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(request: pytest.FixtureRequest, registry: Registry) -> Iterator[URL]:
    """Where there is no database yet, on each kind of server; gone afterwards."""
    from headway.dialects import dialect_of

    if request.param == "sqlite":
        yield URL.create("sqlite", database=str(registry.data / "new.db"))
        return
    server: URL = request.getfixturevalue(f"{request.param}_server")
    url = server.set(database=f"headway_test_{os.getpid()}_new")
    dialect_of(url).drop(url)
    yield url
    dialect_of(url).drop(url)


def test_a_database_is_created_at_head_and_dropped_again(registry: Registry, place: URL) -> None:
    made = registry.create(place, labels={"tier": "gold"})
    assert (made.position, made.current, made.pending) == ("at_head", "r003", 0)
    assert labels(made) == {"tier": "gold"}
    seen = real(registry, place)
    assert (seen.position, seen.current) == ("at_head", ("r003",))
    assert registry.is_counted_right()
    with pytest.raises(InputInvalid):
        databases.drop_database(ROOT, made.id, confirm="New")
    assert real(registry, place).position == "at_head"
    dropped = databases.drop_database(ROOT, made.id, confirm="new")
    assert real(registry, place).position in ("empty", "unreachable")
    assert dropped.database.retired_at
    if place.get_backend_name() == "sqlite":
        assert dropped.snapshot
        assert str(dropped.snapshot) in dropped.note
        assert real(registry, str(dropped.snapshot)).current == ("r003",)
    else:
        assert "There is no snapshot" in dropped.note
    assert registry.is_counted_right()
    again = registry.create(place)
    assert (again.name, again.position) == ("new", "at_head")
    assert again.id != made.id


def test_what_is_there_already_is_not_made(registry: Registry, place: URL) -> None:
    Scripts.load(registry.scripts).at(place).create("r001")
    with pytest.raises(DatabaseExists):
        registry.create(place)
    assert real(registry, place).current == ("r001",)
    assert listed() == []
    assert registry.is_counted_right()


def test_nothing_half_made_stays(registry: Registry, place: URL) -> None:
    write_revision(
        registry.scripts, "r004", "r003", ['op.execute("INSERT INTO nowhere VALUES (1)")']
    )
    with pytest.raises(HeadwayError, match="nowhere"):
        registry.create(place)
    assert real(registry, place).position in ("empty", "unreachable")
    assert listed() == []
    assert registry.is_counted_right()
    for file in (registry.scripts / "versions").glob("*r004*"):
        file.unlink()
    assert registry.create(place).position == "at_head"


def test_a_projects_code_that_ends_its_process_is_survived(registry: Registry) -> None:
    url = URL.create("sqlite", database=str(registry.data / "new.db"))
    ends = ["import os", "op.get_context().as_sql or os._exit(3)"]
    last = write_revision(registry.scripts, "r004", "r003", ends)
    with pytest.raises(HeadwayError, match="ended before its work was done"):
        registry.create(url)
    assert not Path(str(url.database)).exists()
    assert listed() == []
    Path(last).unlink()
    assert registry.create(url).current == "r003"


def test_a_projects_code_runs_in_a_process_apart(registry: Registry) -> None:
    note = registry.data / "pid"
    write_revision(
        registry.scripts,
        "r004",
        "r003",
        ["import os, pathlib", f"pathlib.Path({str(note)!r}).write_text(str(os.getpid()))"],
    )
    url = URL.create("sqlite", database=str(registry.data / "new.db"))
    assert registry.create(url).current == "r004"
    assert int(note.read_text()) != os.getpid()


def test_created_twice_at_once_is_created_once(registry: Registry) -> None:
    url = URL.create("sqlite", database=str(registry.data / "new.db"))
    asked = registry.asked(url)
    answers = at_once(registry.app, *[lambda: databases.create_database(ROOT, asked)] * 3)
    (creation,) = [answer for answer in answers if isinstance(answer, databases.Creation)]
    assert [type(a) for a in answers].count(DatabaseRegistered) == 2, answers
    registry.drain()
    assert created(creation).position == "at_head"
    assert real(registry, url).position == "at_head"
    assert registry.is_counted_right()


def test_one_request_sent_several_times_at_once_makes_one(registry: Registry) -> None:
    _, actor = person(Role.ADMIN)
    asked = registry.asked(registry.data / "new.db")

    def make() -> databases.Creation:
        return databases.create_database(actor, dict(asked), key="one")

    answers = at_once(registry.app, *[make] * 4)
    assert sorted(one.replayed for one in answers) == [False, True, True, True], answers
    assert len({(one.database_id, one.rollout_id) for one in answers}) == 1
    registry.drain()
    assert created(make()).position == "at_head"
    with pytest.raises(IdempotencyKeyReused):
        databases.create_database(actor, asked | {"notes": "n"}, key="one")
    assert registry.is_counted_right()


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"url": "{data}/none/new.db"}, AddressInvalid),
        ({"url": "postgresql://h/x?options=-csearch_path=public"}, StillNeeded),
        ({"project_id": 999}, ProjectNotFound),
    ],
    ids=str,
)
def test_what_cannot_be_created_leaves_nothing(
    registry: Registry, values: dict[str, Any], error: type[HeadwayError]
) -> None:
    told = {
        k: v.replace("{data}", str(registry.data)) if isinstance(v, str) else v
        for k, v in values.items()
    }
    with pytest.raises(error):
        registry.create(registry.data / "new.db", **told)
    assert listed() == []
    assert registry.is_counted_right()


def test_scripts_that_are_gone_leave_no_row(registry: Registry) -> None:
    registry.scripts.rename(registry.scripts.with_name("moved"))
    with pytest.raises(ScriptsUnreadable):
        registry.create(registry.data / "new.db")
    assert listed() == []
    assert registry.is_counted_right()


# --- retire and drop -------------------------------------------------------------------------


def test_a_retired_one_stays_as_it_is_and_frees_its_name_and_url(anywhere: Registry) -> None:
    path = anywhere.data / "a.db"
    Scripts.load(anywhere.scripts).at(path).create("r001")
    made = anywhere.register("a", url=str(path), labels={"tier": "gold"})
    gone = databases.retire_database(ROOT, made.id)
    assert path.exists()
    assert gone.name == f"a (retired {made.id})"
    assert (gone.identity, gone.rollout_id, labels(gone)) == (None, None, {"tier": "gold"})
    assert listed() == []
    found, _ = databases.list_databases(ROOT, Selector(), limit=9, retired=True)
    assert [one.id for one in found] == [made.id]
    with pytest.raises(DatabaseNotFound):
        databases.retire_database(ROOT, made.id)
    with pytest.raises(DatabaseNotFound):
        databases.change_database(ROOT, made.id, {"notes": "x"}, version=None)
    with pytest.raises(AddressInvalid):
        urls.url_of(databases.get_database(ROOT, gone.id))
    assert anywhere.register("a", url=str(path)).id != made.id
    assert anywhere.is_counted_right()


def test_one_in_a_rollout_stays_until_that_has_ended(anywhere: Registry) -> None:
    path = anywhere.data / "a.db"
    Scripts.load(anywhere.scripts).at(path).create("r001")
    made = anywhere.register("a", url=str(path))
    rollout = Rollout(
        project_id=anywhere.project_id,
        kind="upgrade",
        target="heads",
        selector={},
        waves=[],
        sizes=[],
        gate={},
        window=None,
        concurrency=1,
        per_server=1,
        timeout_seconds=1,
        snapshot=False,
        retreat=False,
        stage=Stage.PAUSED,
        by_name="test",
    )
    db.session.add(rollout)
    db.session.flush()
    db.session.execute(sa.update(Database).values(rollout_id=rollout.id))
    db.session.commit()
    for act in (
        lambda: databases.retire_database(ROOT, made.id),
        lambda: databases.drop_database(ROOT, made.id, confirm="a"),
        lambda: databases.change_database(ROOT, made.id, {"url": "mysql://h/x"}, version=None),
    ):
        with pytest.raises(StillNeeded, match=f"rollout {rollout.id}"):
            act()
    assert path.exists()
    db.session.execute(sa.update(Rollout).values(stage=Stage.CANCELLED))
    db.session.commit()
    assert databases.drop_database(ROOT, made.id, confirm="a").snapshot
    assert not path.exists()
    assert anywhere.is_counted_right()


def test_a_drop_that_fails_leaves_the_member_and_its_file(registry: Registry) -> None:
    path = registry.data / "a.db"
    path.write_bytes(b"SQLite format 3\x00" + b"damaged" * 500)
    made = registry.register("a", url=str(path))
    with pytest.raises(HeadwayError):
        databases.drop_database(ROOT, made.id, confirm="a")
    assert path.exists()
    assert names(listed()) == ["a"]
    assert registry.is_counted_right()


def test_a_drop_that_was_interrupted_can_be_done_again(registry: Registry) -> None:
    path = registry.data / "a.db"
    Scripts.load(registry.scripts).at(path).create("r001")
    made = registry.register("a", url=str(path))
    remove._withdraw(ROOT, made.id, "a")  # and there its process was killed
    assert listed() == []
    with pytest.raises(DatabaseRegistered):
        registry.register("b", url=str(path))
    assert databases.drop_database(ROOT, made.id, confirm="a").snapshot
    assert registry.register("b", url=str(path))
    assert registry.is_counted_right()


def test_a_file_that_is_gone_is_dropped_without_a_snapshot(registry: Registry) -> None:
    made = registry.register("a")
    dropped = databases.drop_database(ROOT, made.id, confirm="a")
    assert dropped.snapshot is None
    assert "nothing to keep" in dropped.note


def test_what_tenants_share_is_not_dropped_under_them(
    registry: Registry, postgresql_url: URL
) -> None:
    text = postgresql_url.render_as_string(hide_password=False)
    joint = "&" if "?" in text else "?"
    whole = registry.register("whole", url=text)
    tenant = registry.register("tenant", url=f"{text}{joint}options=-csearch_path%3Dacme")
    with pytest.raises(StillNeeded):
        databases.drop_database(ROOT, whole.id, confirm="whole")
    databases.drop_database(ROOT, tenant.id, confirm="tenant")
    assert real(registry, postgresql_url).position == "empty"
    databases.drop_database(ROOT, whole.id, confirm="whole")
    assert real(registry, postgresql_url).position == "unreachable"


# --- overview and keys -----------------------------------------------------------------------


def test_the_fleet_at_a_glance(anywhere: Registry) -> None:
    ada, _ = person(Role.VIEWER, "Ada")
    made = [
        anywhere.register(f"d{n}", labels={"tier": "gold" if n < 2 else "free"}) for n in range(5)
    ]
    databases.change_database(ROOT, made[0].id, {"owner_id": ada.id}, version=None)
    move(made[0].id, "at_head", "r003")
    move(made[1].id, "behind", "r001")
    move(made[2].id, "behind", "r002")
    databases.pin_database(ROOT, made[3].id, reason="r", until=SOON)
    db.session.execute(sa.update(Database).where(Database.id == made[1].id).values(drift=3))
    db.session.commit()
    databases.retire_database(ROOT, made[4].id)
    seen = overview.overview(ROOT, by="owner")
    assert (seen.databases, seen.drifted, seen.pinned, seen.retired) == (4, 1, 1, 1)
    assert seen.positions == {"at_head": 1, "behind": 2, "unknown": 1}
    (project,) = seen.projects
    assert (project.name, project.databases) == ("shop", 4)
    assert project.revisions == {"": 1, "r001": 1, "r002": 1, "r003": 1}
    assert {(g.value, g.databases) for g in seen.groups} == {("", 3), ("Ada", 1)}
    by = overview.overview(ROOT, project_id=anywhere.project_id, by="label.tier")
    assert [(g.value, g.databases) for g in by.groups] == [("free", 2), ("gold", 2)] or [
        (g.value, g.databases) for g in by.groups
    ] == [("gold", 2), ("free", 2)]
    for wrong in ("colour", "label."):
        with pytest.raises(InputInvalid):
            overview.overview(ROOT, by=wrong)


def with_keys(url: URL, data: Path, *keys: str) -> Flask:
    return create_app(settings_for(url, data_roots=(data,), encryption_keys=keys))


def test_keys_are_rotated_while_everything_stays_readable(
    migrated_url: URL, tmp_path: Path
) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    with with_keys(migrated_url, tmp_path, old).app_context():
        values = {"name": "p", "location": str(tmp_path)}
        project = Project(**values, heads=[], environment_facts={}, x={})
        db.session.add(project)
        hook = Webhook(name="w", url="https://x/y", address="x", secret="s", events=[], by_name="t")
        db.session.add(hook)
        db.session.commit()
        rows = ({"name": str(n), "url": f"{tmp_path}/{n}.db"} for n in range(600))
        assert databases.register_many(ROOT, project.id, rows).added == 600
        key = listed()[0].id
        version = listed()[0].version
        db.session.remove()
        db.engine.dispose()
    with with_keys(migrated_url, tmp_path, new, old).app_context():
        assert urls.url_of(databases.get_database(ROOT, key)).database
        db.session.remove()
        first = key_rotation.rotate_keys(ROOT)
        assert (first.renewed, first.fresh, first.unreadable) == (602, 0, 0)
        second = key_rotation.rotate_keys(ROOT)
        assert (second.renewed, second.fresh, second.unreadable) == (0, 602, 0)
        db.session.remove()
        assert listed()[0].version == version
        db.session.remove()
        db.engine.dispose()
    with with_keys(migrated_url, tmp_path, new).app_context():
        assert urls.url_of(databases.get_database(ROOT, key)).database
        assert db.session.scalars(sa.select(Webhook.secret)).one() == "s"
        db.session.remove()
        db.engine.dispose()
    with with_keys(migrated_url, tmp_path, old).app_context():
        with pytest.raises(SecretUnreadable):
            urls.url_of(databases.get_database(ROOT, key))
        assert key_rotation.rotate_keys(ROOT).unreadable == 602
        db.session.remove()
        db.engine.dispose()


def test_every_secret_of_the_catalog_is_rotated() -> None:
    secret = {
        (table.name, column.name)
        for table in Base.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, Secret)
    }
    assert secret == set(key_rotation.KEPT)
