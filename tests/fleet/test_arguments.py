"""-x arguments of each database: placeholders, values of its own, and an env.py that needs them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from sqlalchemy.engine import URL

from app.errors import ArgumentMissing, InputInvalid, RoleInsufficient
from app.extensions import db
from app.fleet import databases, projects, rollouts
from app.fleet.addresses import arguments
from app.fleet.addresses.arguments import Member
from app.fleet.core.selectors import Selector
from app.fleet.refresh import probe
from app.fleet.refresh import refresh as refreshing
from app.fleet.runs import claims, execute
from app.models import Database, Kind, Role, Rollout, State
from headway.dialects.urls import DatabaseURL
from headway.errors import StillNeeded
from tests.fleet.conftest import ROOT, person
from tests.fleet.fleets import ME, Fleet, fresh
from tests.migrator.making import rows, run

RECIPE = """
from alembic import context
from sqlalchemy import engine_from_config, pool, text

config = context.config
connectable = engine_from_config(
    config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
)
tenant = context.get_x_argument(as_dictionary=True).get("tenant")
with connectable.connect() as connection:
    connection.execute(text('set search_path to "%s"' % tenant))
    connection.commit()
    connection.dialect.default_schema_name = tenant
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
"""The recipe for tenants in Alembic's cookbook."""

SEVERAL = """
from alembic import context
from sqlalchemy import engine_from_config, pool, text

config = context.config
x = context.get_x_argument(as_dictionary=True)
shard = int(x["shard"])
connectable = engine_from_config(
    config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
)
with connectable.connect() as connection:
    connection.execute(text(f"SET search_path TO {x['schema']}"))
    connection.commit()
    context.configure(
        connection=connection,
        version_table=f"versions_{shard}",
        version_table_schema=x["schema"],
    )
    with context.begin_transaction():
        context.run_migrations()
"""
"""An env.py that needs several values, one of them a number."""

FILES = """
from alembic import context
from sqlalchemy import engine_from_config, pool

config = context.config
x = context.get_x_argument(as_dictionary=True)
connectable = engine_from_config(
    config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
)
with connectable.connect() as connection:
    table = x["note"].strip("!") + "_" + x["tier"]
    context.configure(connection=connection, version_table=table)
    with context.begin_transaction():
        context.run_migrations()
"""

ENVIRONMENTS = {
    "recipe": (RECIPE, {"tenant": "{schema}"}, "alembic_version", ("tenant_a", "Tenant-b")),
    "several": (
        SEVERAL,
        {"schema": "{schema}", "shard": "{label.shard}", "note": '{"a":1}'},
        "versions_7",
        ("tenant_a", "tenant_b"),
    ),
}
"""Its text, the arguments of the project, the version table, and two schemas."""


@pytest.fixture
def tenants(fleet: Fleet, postgresql_url: URL) -> Iterator[Callable[..., Database]]:
    """Registers a schema of one database."""

    def add(name: str, **values: Any) -> Database:
        run(postgresql_url, f'CREATE SCHEMA IF NOT EXISTS "{name}"')
        text = postgresql_url.render_as_string(hide_password=False)
        asked = {"project_id": fleet.project_id, "name": name, "url": f"{text}?schema={name}"}
        made, _ = databases.register_database(ROOT, asked | values)
        refreshing.refresh(fleet.project_id, [made.id])
        return look(made)

    yield add
    db.session.rollback()


def look(database: Database) -> Database:
    """As the catalog has it now."""
    fresh()
    return databases.get_database(ROOT, database.id)


def use(fleet: Fleet, text: str, x: Mapping[str, str]) -> None:
    """Give the project an env.py and arguments."""
    (fleet.scripts / "env.py").write_text(text)
    projects.change_project(ROOT, fleet.project_id, {"x": x}, version=None)
    fleet.load()


def at(url: URL, schema: str, table: str = "alembic_version") -> list[str]:
    """Where a schema itself says that it stands."""
    found = rows(url, f"SELECT to_regclass('\"{schema}\".{table}') IS NOT NULL")
    if found != [(True,)]:
        return []
    return [name for (name,) in rows(url, f'SELECT version_num FROM "{schema}".{table}')]


def tables(url: URL) -> list[tuple[Any, ...]]:
    """All tables of a database, by schema."""
    query = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information)'"
    return sorted(rows(url, query))


# --- the values ----------------------------------------------------------------------------------

ACME = Member(
    name="acme",
    url=DatabaseURL.parse("postgresql://h/shop?schema=tenant_a"),
    labels={"tier": "gold", "a.b/c": "7"},
)


@pytest.mark.parametrize(
    ("value", "filled", "literal"),
    [
        ("{schema}", "tenant_a", "{schema}"),
        ("{name}-{database}", "acme-shop", "{name}-{database}"),
        ("{label.tier}{label.a.b/c}", "gold7", "{label.tier}{label.a.b/c}"),
        ("{{name}}", "{name}", "{name}"),
        ("{{{name}}}", "{{name}}", "{{name}}"),
        ('{"a":1}', '{"a":1}', '{"a":1}'),
        ('{"n":{label.a.b/c}}', '{"n":7}', '{"n":{label.a.b/c}}'),
        ("{} { name } {1} {", "{} { name } {1} {", "{} { name } {1} {"),
    ],
)
def test_a_placeholder_stands_for_a_value_and_other_braces_for_themselves(
    value: str, filled: str, literal: str
) -> None:
    assert arguments.checked({"k": value}) == {"k": value}
    assert arguments.filled({"k": value}, ACME) == {"k": filled}
    assert arguments.literal({"k": value}) == {"k": literal}


def test_arguments_without_a_placeholder_are_one_object_for_all() -> None:
    x = {"k": "v"}
    assert arguments.filled(arguments.merged(x, None), ACME) is x


def test_the_database_of_a_file_is_its_name() -> None:
    file = Member(name="n", url=DatabaseURL.parse("sqlite:////data/shop.db"))
    assert arguments.filled({"k": "{database}"}, file) == {"k": "shop"}


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (
            {"k": "{tenant}"},
            r"\{tenant\}, which is not a placeholder.*\{label.NAME\}.*\{\{tenant\}\}",
        ),
        ({"k": "{label.}"}, "not a placeholder"),
        ({"k": "{Name}"}, "not a placeholder"),
        ({"k": "a\0"}, "invalid value"),
        ({"k": "v" * 1025}, "invalid value"),
        ({"k=v": "v"}, "not a valid name"),
        ({"": "v"}, "not a valid name"),
        ({str(n): "v" for n in range(33)}, "at most 32"),
    ],
)
def test_what_is_no_placeholder_is_refused_where_it_is_set(
    fleet: Fleet, x: dict[str, str], says: str
) -> None:
    with pytest.raises(InputInvalid, match=says):
        projects.change_project(ROOT, fleet.project_id, {"x": x}, version=None)
    with pytest.raises(InputInvalid, match=says):
        fleet.add("a", x=x)
    member = fleet.add("b")
    with pytest.raises(InputInvalid, match=says):
        databases.change_database(ROOT, member.id, {"x": x}, version=None)


# --- over a fleet --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ENVIRONMENTS)
def test_an_env_py_that_needs_values_of_each_tenant_works_over_the_fleet(
    fleet: Fleet, tenants: Callable[..., Database], postgresql_url: URL, kind: str
) -> None:
    text, x, table, names = ENVIRONMENTS[kind]
    use(fleet, text, x)
    members = [tenants(name, labels={"shard": "7"}) for name in names]
    other = tenants("tenant_c", labels={"shard": "7"})
    assert {(one.position, one.pending, one.reason) for one in (*members, other)} == {
        ("empty", 3, None)
    }
    chosen = {"selector": {"ids": [one.id for one in members]}}

    def stand() -> list[str]:
        assert {schema for schema, _ in tables(postgresql_url)} <= set(names)
        assert {look(one).current for one in members} == set(at(postgresql_url, names[0], table))
        return [name for schema in names for name in at(postgresql_url, schema, table)]

    def succeeded(rollout: Rollout) -> None:
        fleet.drain()
        found = [(one.state, one.error) for one in fleet.runs_of(rollout)]
        assert set(found) == {(State.SUCCEEDED, None)}

    succeeded(fleet.start(target="r002", **chosen))
    assert stand() == ["r002", "r002"]
    plan = databases.plan_of(ROOT, look(members[0]), Kind.UPGRADE)
    assert [step.revision.revision for step in plan.steps] == ["r003"]
    before = tables(postgresql_url)
    up = fleet.rollout(**chosen)
    rollouts.rehearse_rollout(ROOT, up.id, sample=2)
    succeeded(up)
    assert tables(postgresql_url) == before
    rollouts.start_rollout(ROOT, up.id)
    succeeded(up)
    assert stand() == ["r003", "r003"]
    for one in members:
        succeeded(databases.run_one(ROOT, one.id, Kind.CHECK, ""))
    assert [look(one).drift for one in members] == [0, 0]
    rollouts.undo_rollout(ROOT, up.id)
    fleet.drain()
    assert stand() == ["r002", "r002"]
    for one in members:
        succeeded(databases.run_one(ROOT, one.id, Kind.DOWNGRADE, "r001"))
    assert stand() == ["r001", "r001"]
    refreshing.refresh(fleet.project_id)
    assert {look(one).position for one in members} == {"behind"}
    assert look(other).position == "empty"


def test_a_value_of_its_own_is_over_that_of_the_project(
    fleet: Fleet, tenants: Callable[..., Database], postgresql_url: URL
) -> None:
    use(fleet, RECIPE, {"tenant": "{label.tenant}"})
    lacking = tenants("tenant_a")
    assert (lacking.position, lacking.pending) == ("unreachable", None)
    assert "tenant={label.tenant} needs the label tenant, and tenant_a has none" in str(
        lacking.reason
    )
    own = tenants("tenant_b", x={"tenant": "{schema}"})
    labelled = tenants("tenant_c", labels={"tenant": "tenant_c"})
    assert [own.position, labelled.position] == ["empty", "empty"]
    tried = databases.run_one(ROOT, lacking.id, Kind.UPGRADE, "heads")
    fleet.drain()
    (failed,) = fleet.runs_of(tried)
    assert (failed.problem, failed.x) == ("argument-missing", None)
    assert "give it that label (tenant=VALUE), or give this database a value of its own" in str(
        failed.error
    )
    assert at(postgresql_url, "tenant_a") == []
    databases.change_database(ROOT, lacking.id, {"x": {"tenant": "tenant_a"}}, version=None)
    rollouts.retry_rollout(ROOT, tried.id)
    fleet.drain()
    assert at(postgresql_url, "tenant_a") == ["r003"]
    assert [one.x for one in fleet.runs_of(tried)] == [{"tenant": "tenant_a"}]
    changed = databases.change_database(ROOT, lacking.id, {"x": {"tenant": None}}, version=None)
    assert (changed.x, changed.position) == (None, ""), "nobody knows where env.py leads now"


def test_an_env_py_that_would_look_elsewhere_is_refused_with_the_value_to_give(
    fleet: Fleet, tenants: Callable[..., Database], postgresql_url: URL
) -> None:
    use(fleet, RECIPE, {})
    member = tenants("tenant_a")
    assert (
        "migrate None in place of tenant_a. Nothing was changed. Give tenant={schema} as an -x"
        in str(member.reason)
    )
    for x in ({}, {"tenant": "tenant_b"}):
        run(postgresql_url, "CREATE SCHEMA IF NOT EXISTS tenant_b")
        databases.change_database(ROOT, member.id, {"x": x}, version=None)
        tried = databases.run_one(ROOT, member.id, Kind.UPGRADE, "heads")
        fleet.drain()
        (failed,) = fleet.runs_of(tried)
        assert failed.problem == "environment-failed"
        assert "Give tenant={schema} as an -x argument of the project (or of this database)" in str(
            failed.error
        )
        assert tables(postgresql_url) == []


def test_an_undo_and_a_later_attempt_have_the_arguments_of_the_first(
    fleet: Fleet, postgresql_url: URL
) -> None:
    """Without a schema in the URL nothing but the arguments says where env.py leads."""
    for schema in ("old", "new"):
        run(postgresql_url, f"CREATE SCHEMA {schema}")
    use(fleet, RECIPE, {"tenant": "{name}"})
    member = fleet.register("old", postgresql_url)
    refreshing.refresh(fleet.project_id)
    up = fleet.start()
    taken = claims.claim(ME, 1)
    with pytest.raises(StillNeeded, match="is working on database"):
        databases.change_database(ROOT, member.id, {"name": "new"}, version=None)
    for run_id in taken:
        execute.execute(run_id, ME)
    fleet.drain()
    assert [one.x for one in fleet.runs_of(up)] == [{"tenant": "old"}]
    databases.change_database(ROOT, member.id, {"notes": "the same place"}, version=None)
    assert look(member).position == "at_head"
    renamed = databases.change_database(ROOT, member.id, {"name": "new"}, version=None)
    assert renamed.position == ""
    refreshing.refresh(fleet.project_id)
    assert look(member).position == "empty"
    databases.run_one(ROOT, member.id, Kind.UPGRADE, "heads")
    fleet.drain()
    assert [at(postgresql_url, schema) for schema in ("old", "new")] == [["r003"], ["r003"]]
    rollouts.undo_rollout(ROOT, up.id)
    fleet.drain()
    assert [at(postgresql_url, schema) for schema in ("old", "new")] == [[], ["r003"]]


def test_labels_are_read_once_and_only_where_a_placeholder_asks_for_them(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.add_many(3, labels={"tenant": "t", "tier": "gold"})
    asked: list[tuple[list[int], list[str]]] = []
    read = arguments.labels_of

    def labels_of(session: Any, ids: Any, names: Any) -> Any:
        asked.append((list(ids), list(names)))
        return read(session, ids, names)

    monkeypatch.setattr(probe.arguments, "labels_of", labels_of)
    refreshing.refresh(fleet.project_id)
    assert not any(names for _, names in asked), "no question without a name"
    projects.change_project(ROOT, fleet.project_id, {"x": {"t": "{label.tenant}"}}, version=None)
    fleet.load()
    asked.clear()
    refreshing.refresh(fleet.project_id)
    assert [(len(ids), names) for ids, names in asked if names] == [(3, ["tenant"])]


def test_labels_of_many_that_arguments_are_made_of_have_them_looked_at(fleet: Fleet) -> None:
    fleet.add("a")
    projects.change_project(ROOT, fleet.project_id, {"x": {"t": "{label.tenant}"}}, version=None)
    fleet.load()
    refreshing.refresh(fleet.project_id)
    fresh()
    for labels, is_asked in (({"tier": "gold"}, False), ({"tenant": "a"}, True)):
        databases.change_many(ROOT, Selector(), labels=labels)
        assert (fleet.project_id in refreshing.due()) is is_asked


def test_a_new_database_has_its_arguments_from_the_first_moment(fleet: Fleet) -> None:
    use(fleet, FILES, {"note": "{name}", "tier": "{label.tier}"})
    with pytest.raises(ArgumentMissing, match="label tier"):
        fleet.created("lacking")
    assert databases.list_databases(ROOT, Selector(), limit=9)[0] == []
    made = fleet.created("made", labels={"tier": "gold"}, x={"note": "{database}!"})
    assert made.position == "at_head"
    assert rows(DatabaseURL.parse(made.address), "SELECT version_num FROM made_gold") == [("r003",)]


UNQUOTABLE = ("a'b", 'a"b', "a;b", "a\\b", "a`b")
"""What ends a quoted text, or a statement, of an env.py that writes its arguments into SQL."""


@pytest.mark.parametrize("value", UNQUOTABLE)
def test_what_could_be_read_as_sql_is_an_admins_to_give(fleet: Fleet, value: str) -> None:
    member = fleet.add("a", labels={"tier": value})
    use(fleet, FILES, {"note": "{label.tier}", "tier": "t"})
    refreshing.refresh(fleet.project_id, [member.id])
    fresh()
    reason = databases.get_database(ROOT, member.id).reason
    assert "could be read as SQL" in (reason or "")
    asked = {"project_id": fleet.project_id, "name": "b", "url": f"sqlite:///{fleet.folder}/b.db"}
    (_, admin), (_, operator) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    own = {"x": {"note": value}}
    with pytest.raises(RoleInsufficient):
        databases.change_database(operator, member.id, own, version=None)
    with pytest.raises(RoleInsufficient):
        databases.register_database(operator, {**asked, **own})
    with pytest.raises(RoleInsufficient):
        databases.create_database(operator, {**asked, **own, "labels": {"tier": "gold"}})
    told = databases.register_many(operator, fleet.project_id, [{**asked, **own} | {"line": 7}])
    assert [line for line, _ in told.refused] == [7]
    databases.change_database(operator, member.id, {"x": {"note": "plain"}}, version=None)
    databases.change_database(admin, member.id, own, version=None)
    assert databases.get_database(ROOT, member.id).x == {"note": value}
