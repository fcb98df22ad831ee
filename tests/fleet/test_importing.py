"""Imports: each source gives what it can, and says of the rest which line and why."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.errors import InputInvalid, OutsideRoots
from app.extensions import db
from app.fleet import databases, projects
from app.fleet.core import audit
from app.fleet.core.selectors import Selector
from app.fleet.databases import import_sources
from app.models import Database, Label, Role
from headway import Project as Scripts
from headway.dialects import dialect_of
from headway.errors import DatabaseUnreachable, HeadwayError
from headway.execution import templates
from tests.conftest import database_on
from tests.fleet.conftest import ROOT, at_once, person
from tests.fleet.registry import Registry, registry_on

SECRET = "s3cr3t-w0rd"


@pytest.fixture
def registry(template_copy: URL, tmp_path: Path) -> Iterator[Registry]:
    with registry_on(template_copy, tmp_path) as made:
        yield made


@pytest.fixture
def anywhere(migrated_url: URL, tmp_path: Path) -> Iterator[Registry]:
    with registry_on(migrated_url, tmp_path) as made:
        yield made


def listed(**selector: Any) -> list[Database]:
    db.session.remove()
    return databases.list_databases(ROOT, Selector.of(selector), limit=1000)[0]


# --- register_many ---------------------------------------------------------------------------


def test_many_are_registered_with_labels_owners_and_one_count(anywhere: Registry) -> None:
    owner, _ = person(Role.VIEWER, "Ada")
    rows = list(anywhere.rows(1203))
    for number, row in enumerate(rows):
        row["labels"] = {"tier": "gold" if number % 3 else "free", "shard": str(number % 7)}
        row["owner"] = str(owner.id) if number % 2 else None
    done = databases.register_many(ROOT, anywhere.project_id, rows)
    assert (done.added, done.known, done.refused) == (1203, 0, [])
    assert anywhere.is_counted_right()
    (fourth,) = listed(search="c4.db")
    assert {label.name: label.value for label in fourth.labels} == {"tier": "gold", "shard": "4"}
    (fifth,) = listed(search="c5.db")
    assert fifth.owner
    assert fifth.owner.name == "Ada"
    db.session.remove()
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Label)) == 2 * 1203
    events, _ = audit.list_events(ROOT, limit=9, action="databases.registered")
    assert sum(event.detail["databases"] for event in events) == 1203


def test_a_second_time_adds_what_is_new_and_nothing_else(anywhere: Registry) -> None:
    databases.register_many(ROOT, anywhere.project_id, anywhere.rows(600))
    done = databases.register_many(ROOT, anywhere.project_id, anywhere.rows(610))
    assert (done.added, done.known, done.refused) == (10, 600, [])
    assert anywhere.is_counted_right()


def test_what_cannot_be_is_told_with_its_line_and_the_rest_goes_on(
    anywhere: Registry, tmp_path: Path
) -> None:
    other, _ = projects.create_project(ROOT, {"name": "other", "location": str(anywhere.scripts)})
    values = {"project_id": other.id, "name": "theirs", "url": f"{anywhere.data}/theirs.db"}
    databases.register_database(ROOT, values)
    anywhere.register("taken")
    good = list(anywhere.rows(3))
    rows = [
        good[0],
        {"name": "bad", "url": f"oracle://u:{SECRET}@h/x"},
        {"name": "out", "url": f"{tmp_path}/x.db"},
        {"name": "both", "url": good[0]["url"], "reference": "env:X"},
        {"name": "none"},
        {"name": "again", "url": good[0]["url"]},
        {"name": "taken", "url": f"{anywhere.data}/elsewhere.db"},
        {"name": "theirs", "url": f"{anywhere.data}/theirs.db"},
        {"name": "c0", "url": f"{anywhere.data}/c0-too.db"},
        {"name": "owned", "url": f"{anywhere.data}/owned.db", "owner": "nobody@example.org"},
        {"name": "labelled", "url": f"{anywhere.data}/l.db", "labels": {"a b": "c"}},
        {"name": "odd", "url": f"{anywhere.data}/o.db", "colour": "red"},
        {"wrong": "It is no JSON.", "line": 77},
        *good[1:],
    ]
    done = databases.register_many(ROOT, anywhere.project_id, rows)
    assert (done.added, done.known) == (3, 1)
    assert [line for line, _ in done.refused] == [2, 3, 4, 5, 7, 8, 9, 10, 11, 12, 77]
    assert SECRET not in str(done)
    assert [one.name for one in listed(project_id=anywhere.project_id)] == [
        *("taken", "c0", "c1", "c2")
    ]
    assert anywhere.is_counted_right()


def test_an_unresolved_reference_is_known_by_its_name(anywhere: Registry) -> None:
    rows = [{"name": "a", "reference": "env:ONLY_WORKERS_HAVE_IT"}]
    first = databases.register_many(ROOT, anywhere.project_id, rows)
    second = databases.register_many(ROOT, anywhere.project_id, rows)
    assert (first.added, second.added, second.known) == (1, 0, 1)
    (one,) = listed()
    assert (one.identity, one.address, one.server) == (None, "env:ONLY_WORKERS_HAVE_IT", None)


def test_two_imports_of_the_same_at_once_register_each_once(anywhere: Registry) -> None:
    def go() -> databases.Registered:
        return databases.register_many(ROOT, anywhere.project_id, anywhere.rows(700))

    answers = at_once(anywhere.app, go, go, go)
    assert not [a for a in answers if isinstance(a, Exception)], answers
    assert sum(a.added for a in answers) == 700
    assert not any(a.refused for a in answers), [a.refused[:2] for a in answers]
    assert sum(a.known for a in answers) == 1400
    assert not any(a.refused for a in answers)
    assert anywhere.is_counted_right()


# --- files -----------------------------------------------------------------------------------


def test_files_are_found_named_and_labelled_by_their_path(registry: Registry) -> None:
    scripts = Scripts.load(registry.scripts)
    for place in ("eu/acme/app.db", "eu/zoë ltd/app.db", "us/acme/app.db"):
        path = registry.data / place
        path.parent.mkdir(parents=True)
        scripts.at(path).create("r001")
    (registry.data / "eu/acme/notes.txt").write_text("no database")
    (registry.data / "eu/acme/empty.db").touch()
    for ending in ("-wal", "-journal", ".headway.lock", ".20260101T000000Z.r1.snapshot"):
        os.link(registry.data / "eu/acme/app.db", f"{registry.data}/eu/acme/app.db{ending}")
    pattern = f"{registry.data}/**/*"
    rows = list(
        import_sources.from_files(pattern, labels=r"/(?P<region>eu|us)/(?P<customer>[^/]+)/")
    )
    assert [(row["name"], row["labels"]) for row in rows] == [
        ("eu/acme/app", {"region": "eu", "customer": "acme"}),
        ("eu/zoë ltd/app", {"region": "eu", "customer": "zoë ltd"}),
        ("us/acme/app", {"region": "us", "customer": "acme"}),
    ]
    assert databases.register_many(ROOT, registry.project_id, rows).added == 3
    assert [one.name for one in listed(labels={"region": "eu"})] == [
        "eu/acme/app",
        "eu/zoë ltd/app",
    ]


def test_a_name_with_marks_of_a_url_is_found_again(registry: Registry) -> None:
    path = registry.data / "50% off? #1 & more.db"
    Scripts.load(registry.scripts).at(path).create("r001")
    done = databases.register_many(
        ROOT, registry.project_id, import_sources.from_files(f"{registry.data}/*.db")
    )
    assert done.added == 1
    from app.fleet.addresses import urls

    (one,) = listed()
    assert urls.url_of(databases.get_database(ROOT, one.id)).database == str(path)


def test_links_out_of_the_roots_are_refused_one_by_one(registry: Registry, tmp_path: Path) -> None:
    scripts = Scripts.load(registry.scripts)
    scripts.at(tmp_path / "outside.db").create("r001")
    scripts.at(registry.data / "inside.db").create("r001")
    (registry.data / "link.db").symlink_to(tmp_path / "outside.db")
    rows = import_sources.from_files(f"{registry.data}/*.db")
    done = databases.register_many(ROOT, registry.project_id, rows)
    assert (done.added, [line for line, _ in done.refused]) == (1, [2])
    for pattern in (f"{tmp_path}/*.db", "/etc/*"):
        with pytest.raises(OutsideRoots):
            list(import_sources.from_files(pattern))
    (registry.data / "sub").mkdir()
    for pattern in ("../*.db", "s*b/../../*.db", "*/../*.db", "**/../*.db"):
        with pytest.raises(InputInvalid, match=r"must not contain `\.\.`"):
            list(import_sources.from_files(f"{registry.data}/{pattern}"))


def test_any_depth_goes_into_no_folder_that_is_a_link(registry: Registry, tmp_path: Path) -> None:
    scripts = Scripts.load(registry.scripts)
    for place in (tmp_path / "far/away.db", registry.data / "a/near.db", registry.data / "top.db"):
        place.parent.mkdir(exist_ok=True)
        scripts.at(place).create("r001")
    (registry.data / "linked").symlink_to(tmp_path / "far")
    (registry.data / "a" / "around").symlink_to(registry.data)
    (registry.data / ".hidden").mkdir()
    os.link(registry.data / "top.db", registry.data / ".hidden/top.db")
    for pattern in ("**/*.db", "**", "**/**/*.db"):
        rows = import_sources.from_files(f"{registry.data}/{pattern}")
        assert [row["name"] for row in rows] == ["a/near", "top"]
    assert list(import_sources.from_files(f"{registry.data}/link*/**/*.db")) == []


def test_an_expression_that_labels_nothing_is_refused(registry: Registry) -> None:
    for text in ("(", "[a-z]+"):
        with pytest.raises(InputInvalid):
            list(import_sources.from_files(f"{registry.data}/*.db", labels=text))


# --- servers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_a_servers_databases_are_found_by_name(
    registry: Registry, kind: str, request: pytest.FixtureRequest
) -> None:
    server: URL = request.getfixturevalue(f"{kind}_server")
    with database_on(server) as one, database_on(server) as two:
        text = server.set(database=None).render_as_string(hide_password=False)
        mine = f"headway_test_{os.getpid()}_*"
        rows = list(import_sources.from_server(text, names=mine, labels=r"_(?P<number>\d+)$"))
        found = {row["name"]: row for row in rows}
        assert {one.database, two.database} <= found.keys()
        assert found[one.database]["labels"]["number"] == str(one.database).rpartition("_")[2]
        ours = server.set(database=f"{templates.PREFIX}of_a_test")
        dialect_of(server).make(ours)
        try:
            everything = {row["name"] for row in import_sources.from_server(text)}
        finally:
            dialect_of(server).drop(ours)
        assert ours.database not in everything
        system = {"postgres", "template0", "template1", "mysql", "information_schema", "sys"}
        assert not everything & system
        done = databases.register_many(ROOT, registry.project_id, rows)
        assert done.added == len(rows)


def test_a_server_that_does_not_answer_is_said_without_its_password(registry: Registry) -> None:
    with pytest.raises(DatabaseUnreachable) as refused:
        list(import_sources.from_server(f"postgresql://u:{SECRET}@127.0.0.1:1/"))
    assert SECRET not in str(refused.value)
    with pytest.raises(HeadwayError):
        list(import_sources.from_server("sqlite:///x.db"))


# --- CSV and JSON ----------------------------------------------------------------------------


def test_a_csv_is_read_line_by_line(registry: Registry) -> None:
    text = (
        "\ufeffname,url,owner,notes,label.tier,label.region\n"
        f"a,{registry.data}/a.db,,hello,gold,\n"
        "\n"
        f'"b, Ltd",{registry.data}/b.db,,"two\nlines",,eu\n'
        "c,too,few\n"
        f"d,{registry.data}/d.db,,,,\n"
    )
    rows = list(import_sources.from_csv(text.splitlines(keepends=True)))
    done = databases.register_many(ROOT, registry.project_id, rows)
    assert done.added == 3
    assert done.refused == [(6, "This row has 3 cells, but the header has 6.")]
    a, b, d = listed()
    assert (a.name, b.name, d.notes) == ("a", "b, Ltd", None)
    assert {label.name: label.value for label in a.labels} == {"tier": "gold"}
    assert b.notes == "two\nlines"


@pytest.mark.parametrize(
    "header", ["", "name,adress", "name,notes", "url,url", "url,label.", "url,position"]
)
def test_a_header_that_says_nothing_is_refused(registry: Registry, header: str) -> None:
    with pytest.raises(InputInvalid):
        list(import_sources.from_csv([f"{header}\n"] if header else []))


def test_json_lines_are_read_one_by_one(registry: Registry) -> None:
    lines = [
        f'{{"name": "a", "url": "{registry.data}/a.db", "labels": {{"tier": "gold", "n": 7}}}}',
        "",
        "[1]",
        "{nothing",
        '{"name": "b", "colour": "red"}',
        '{"name": ["b"], "url": "x"}',
        '{"name": "b", "labels": 3}',
        f'{{"name": "c", "url": "{registry.data}/c.db", "label.tier": "free", "notes": null}}',
    ]
    done = databases.register_many(ROOT, registry.project_id, import_sources.from_json_lines(lines))
    assert done.added == 2
    assert [line for line, _ in done.refused] == [3, 4, 5, 6, 7]
    a, c = listed()
    assert {label.name: label.value for label in a.labels} == {"tier": "gold", "n": "7"}
    assert {label.name: label.value for label in c.labels} == {"tier": "free"}


def test_a_line_without_an_end_is_refused(registry: Registry) -> None:
    read: Callable[..., Any]
    for read in (import_sources.from_csv, import_sources.from_json_lines):
        with pytest.raises(InputInvalid, match="longer"):
            list(read(["name,url\n", "x" * 70_000]))
