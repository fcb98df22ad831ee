"""Schemas of one PostgreSQL database, imported: each is a database of the fleet."""

import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import URL

from app.errors import InputInvalid
from app.extensions import db
from app.fleet import databases
from app.fleet.addresses import urls
from app.fleet.core.selectors import Selector
from app.fleet.databases import import_sources
from app.models import Database
from headway import Project
from headway.errors import AddressInvalid, DatabaseRefused, DatabaseUnreachable
from tests.fleet.conftest import ROOT
from tests.fleet.registry import Registry, registry_on
from tests.migrator.making import rows, run

SECRET = "s3cr3t-w0rd"
ODD = (
    *("plain", "Capital", "two words", ' "quoted" ', "50% off?#&=+/;@:", "größter Kunde", "東京"),
    *(
        "it's",
        "back\\slash",
        "a,b",
        "-c x=y",
        "$users",
        "$1",
        "select",
        "1st",
        "*",
        "%41",
        "x" * 63,
    ),
    *("no-break\u00a0space", "é" * 31, "ends with \\", '"', "[a-z]", "..", "null"),
)


@pytest.fixture
def registry(template_copy: URL, tmp_path: Path) -> Iterator[Registry]:
    with registry_on(template_copy, tmp_path) as made:
        yield made


def text_of(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def listed() -> dict[str, Database]:
    db.session.remove()
    found, _ = databases.list_databases(ROOT, Selector.of({}), limit=1000)
    return {one.name: one for one in found}


def test_schemas_are_found_named_and_labelled(registry: Registry, postgresql_url: URL) -> None:
    run(
        postgresql_url,
        *(f"CREATE SCHEMA {name}" for name in ("gold_acme", "gold_zoe", "free_bob", "other")),
        "CREATE TABLE gold_acme.t (x INT)",
    )
    find = {"names": "*_*", "labels": "^(?P<tier>[a-z]+)_"}
    text = f"{text_of(postgresql_url)}?connect_timeout=7&options=-cwork_mem%3D8MB"
    found = list(import_sources.from_schemas(text, **find))
    assert [(row["line"], row["name"], row["labels"]) for row in found] == [
        (1, "free_bob", {"tier": "free"}),
        (2, "gold_acme", {"tier": "gold"}),
        (3, "gold_zoe", {"tier": "gold"}),
    ]
    done = databases.register_many(ROOT, registry.project_id, found)
    assert (done.added, done.known, done.refused) == (3, 0, [])
    acme = urls.url_of(listed()["gold_acme"])
    assert (acme.schema, acme.session.settings) == ("gold_acme", ("work_mem",))
    assert acme.query["connect_timeout"] == "7"
    assert str(acme.display).endswith("work_mem%3D***&schema=gold_acme")
    run(postgresql_url, "CREATE SCHEMA gold_late")
    again = import_sources.from_schemas(text, **find)
    done = databases.register_many(ROOT, registry.project_id, again)
    assert (done.added, done.known, done.refused) == (1, 3, [])
    assert registry.is_counted_right()


def test_a_name_of_any_letters_leads_to_its_own_schema(
    registry: Registry, postgresql_url: URL
) -> None:
    run(postgresql_url, *(f"CREATE SCHEMA {quoted(name)}" for name in ODD))
    found = import_sources.from_schemas(text_of(postgresql_url))
    done = databases.register_many(ROOT, registry.project_id, found)
    assert (done.added, done.refused) == (len(ODD), [])
    members = listed()
    assert members.keys() == set(ODD)
    scripts = Project.load(registry.scripts)
    for name in ODD:
        url = urls.url_of(members[name])
        assert url.schema == name
        assert rows(url, "SELECT current_schema()") == [(name,)]
        scripts.at(url).upgrade("r001")
    where = "SELECT relnamespace::regnamespace::oid, count(*) FROM pg_class WHERE relname = 't1'"
    assert len(rows(postgresql_url, f"{where} GROUP BY 1")) == len(ODD)
    done = databases.register_many(
        ROOT, registry.project_id, import_sources.from_schemas(text_of(postgresql_url))
    )
    assert (done.added, done.known, done.refused) == (0, len(ODD), [])


def test_a_name_that_cannot_be_is_told_and_the_others_go_on(
    registry: Registry, postgresql_url: URL
) -> None:
    wrong = ("$user", "in\nvisible", "a\u200bb", "http://x")
    run(postgresql_url, *(f"CREATE SCHEMA {quoted(name)}" for name in (*wrong, "good")))
    found = import_sources.from_schemas(text_of(postgresql_url))
    done = databases.register_many(ROOT, registry.project_id, found)
    assert (done.added, len(done.refused)) == (1, len(wrong))
    assert "rename it" in str(done.refused)
    assert listed().keys() == {"good"}


def test_a_pattern_is_in_the_letters_of_the_name(registry: Registry, postgresql_url: URL) -> None:
    run(postgresql_url, *(f"CREATE SCHEMA {quoted(name)}" for name in ("Tenant_1", "tenant_1")))
    for pattern, names in (("tenant_*", ["tenant_1"]), ("[Tt]enant_?", ["Tenant_1", "tenant_1"])):
        found = import_sources.from_schemas(text_of(postgresql_url), names=pattern)
        assert [row["name"] for row in found] == names


def test_what_is_no_tenants_is_passed_over(registry: Registry, postgresql_url: URL) -> None:
    run(
        postgresql_url,
        "CREATE SCHEMA acme",
        "CREATE SCHEMA brought",
        "CREATE SCHEMA keeps",
        "CREATE EXTENSION pgcrypto SCHEMA keeps",  # in a schema that is still its maker's
        "ALTER EXTENSION pgcrypto ADD SCHEMA brought",  # as one that made a schema for itself
    )
    text = text_of(postgresql_url)

    def found(names: str) -> list[str]:
        return [row["name"] for row in import_sources.from_schemas(text, names=names)]

    assert found("*") == ["acme", "keeps"]
    assert found("p*") == []
    assert found("public") == ["public"]
    for never in ("pg_catalog", "pg_*", "information_schema", "brought"):
        assert found(never) == []
    shared = list(import_sources.from_schemas(text, names="public"))
    assert databases.register_many(ROOT, registry.project_id, shared).added == 1
    whole = databases.register_many(ROOT, registry.project_id, [{"name": "db", "url": text}])
    assert whole.known == 1  # without a schema of its own a session is in public


def test_a_schema_that_the_user_may_not_use_is_told(
    registry: Registry, postgresql_url: URL
) -> None:
    login = f"{postgresql_url.database}_login"
    run(
        postgresql_url,
        *("CREATE SCHEMA hers", "CREATE SCHEMA mine"),
        f"CREATE ROLE {login} LOGIN PASSWORD '{SECRET}'",
        f"GRANT USAGE ON SCHEMA mine TO {login}",
    )
    try:
        text = text_of(postgresql_url.set(username=login, password=SECRET))
        done = databases.register_many(ROOT, registry.project_id, import_sources.from_schemas(text))
    finally:
        run(postgresql_url, f"DROP OWNED BY {login}", f"DROP ROLE {login}")
    assert (done.added, [line for line, _ in done.refused]) == (1, [1])
    assert "may not use the schema hers" in done.refused[0][1]
    assert SECRET not in str(done.refused)
    assert listed().keys() == {"mine"}


def test_the_same_name_in_a_second_database_is_told_with_what_to_do(
    registry: Registry, postgresql_url: URL
) -> None:
    registry.register("acme")
    run(postgresql_url, "CREATE SCHEMA acme", "CREATE SCHEMA zoe")
    found = import_sources.from_schemas(text_of(postgresql_url))
    done = databases.register_many(ROOT, registry.project_id, found)
    assert (done.added, done.known) == (1, 0)
    assert done.refused == [
        (1, "Another database has the name acme. Register this one with another name.")
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgresql://u:{secret}@h", "names no database"),
        ("postgresql://u:{secret}@h/", "names no database"),
        ("mysql://u:{secret}@h/x", "no schemas in it: each is a database of its own"),
        ("mariadb://u:{secret}@h/", "no schemas in it: each is a database of its own"),
        ("sqlite:////data/x.db", "has no schemas"),
        ("postgresql://u:{secret}@h/x?schema=acme", "names a schema already"),
        ("postgresql://u:{secret}@h/x?options=-csearch_path=a", "names a schema already"),
        ("postgresql://u:{secret}@h/x?options=-crole=a", "set role"),
        ("nonsense {secret}", "not a database URL"),
    ],
)
def test_a_url_that_has_no_schemas_is_refused_in_words(
    registry: Registry, text: str, said: str
) -> None:
    with pytest.raises(AddressInvalid, match=said) as refused:
        list(import_sources.from_schemas(text.format(secret=SECRET)))
    assert SECRET not in str(refused.value)


def test_a_server_that_is_not_there_and_an_expression_without_labels(
    registry: Registry, postgresql_url: URL
) -> None:
    with pytest.raises(DatabaseUnreachable) as refused:
        list(import_sources.from_schemas(f"postgresql://u:{SECRET}@127.0.0.1:1/x"))
    assert SECRET not in str(refused.value)
    with pytest.raises(DatabaseUnreachable):
        list(import_sources.from_schemas(text_of(postgresql_url.set(database="not_there"))))
    with pytest.raises(InputInvalid, match="gives no label"):
        list(import_sources.from_schemas(text_of(postgresql_url), labels="[a-z]"))


def test_names_in_no_encoding_are_refused(registry: Registry, postgresql_server: URL) -> None:
    def say(statement: str, url: URL = postgresql_server) -> None:
        with psycopg.connect(text_of(url.set(drivername="postgresql")), autocommit=True) as raw:
            raw.execute(statement)

    place = postgresql_server.set(database=f"headway_test_{os.getpid()}_ascii")
    say(
        f"CREATE DATABASE {place.database} "
        "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    try:
        say('CREATE SCHEMA "größe"', place.update_query_dict({"client_encoding": "utf8"}))
        with pytest.raises(DatabaseRefused, match="client_encoding=utf8"):
            list(import_sources.from_schemas(text_of(place)))
        found = list(import_sources.from_schemas(f"{text_of(place)}?client_encoding=utf8"))
        assert [row["name"] for row in found] == ["größe"]
    finally:
        say(f"DROP DATABASE {place.database}")


def test_more_than_a_request_takes_are_not_looked_for(
    registry: Registry, postgresql_url: URL
) -> None:
    run(postgresql_url, *(f"CREATE SCHEMA s{n}" for n in range(7)))
    found = import_sources.from_schemas(text_of(postgresql_url), most=3)
    assert len(list(found)) == 4
    with pytest.raises(InputInvalid, match="more than 3"):
        import_sources.at_most(3, import_sources.from_schemas(text_of(postgresql_url), most=3))
