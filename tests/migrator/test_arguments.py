"""-x arguments: what env.py reads of them, how often it runs for them, tenants that they name."""

import os

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway.connections.address import Address
from headway.errors import EnvironmentFailed
from headway.execution import templates
from headway.project import Project
from headway.scripts import project as scripts
from headway.types import Bounded, Position
from headway.words import Words
from tests.migrator.making import rows, run
from tests.migrator.team import FROM_CONFIG, Team

ENV = """
from pathlib import Path
from alembic import context
from sqlalchemy import engine_from_config, pool, text
config = context.config
with Path({log!r}).open("a") as log:
    log.write("ran\\n")
{head}
with {engine}.connect() as connection:
    {before}
    context.configure(connection=connection{options})
    with context.begin_transaction():
        context.run_migrations()
"""
RECIPE = {
    "head": "tenant = context.get_x_argument(as_dictionary=True).get('tenant')",
    "before": "connection.execute(text('set search_path to \"%s\"' % tenant)); "
    "connection.commit(); connection.dialect.default_schema_name = tenant",
}
"""What the cookbook of Alembic does for tenants."""


def project_of(team: Team, head: str = "", before: str = "pass", options: str = "") -> Project:
    """A project with this env.py, which notes each time that it runs."""
    log = str(team.root / "ran.log")
    text = ENV.format(log=log, head=head, engine=FROM_CONFIG, before=before, options=options)
    return team.two().ini().write("migrations/env.py", text).load()


def times(team: Team) -> int:
    """How often env.py ran since this was last asked."""
    log = team.root / "ran.log"
    count = len(log.read_text().splitlines()) if log.exists() else 0
    log.write_text("")
    return count


@pytest.fixture
def tenants(postgresql_url: URL) -> URL:
    """A database with two tenants' schemas, one of them in capital letters."""
    run(postgresql_url, "CREATE SCHEMA tenant_a", 'CREATE SCHEMA "Tenant-B"')
    return postgresql_url


def at(tenants: URL, schema: str) -> URL:
    """The URL of a tenant."""
    return tenants.update_query_dict({"schema": schema})


def tables(url: URL) -> list[tuple[object, ...]]:
    """All tables of a database, by schema."""
    query = "SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information)'"
    return sorted(rows(url, query))


def test_it_runs_once_for_all_arguments_that_it_does_not_read(team: Team) -> None:
    project = project_of(team)
    for tenant in ("a", "b", "c"):
        assert project.environment_for(team.ours, {"tenant": tenant}).x_read is None
    assert times(team) == 2, "once, and once for another database"
    project.environment_for(team.ours)
    assert times(team) == 0


@pytest.mark.parametrize(
    ("head", "read"),
    [
        ("x = context.get_x_argument(as_dictionary=True).get('tenant')", ("tenant",)),
        (
            "x = context.get_x_argument(as_dictionary=True); x.get('tenant'); 'y' in x",
            ("tenant", "y"),
        ),
        ("x = {**context.get_x_argument(as_dictionary=True)}", ()),
        ("x = context.get_x_argument()", ()),
        ("x = getattr(config.cmd_opts, 'x', None)", ()),
    ],
)
def test_what_it_reads_is_known_and_each_set_of_values_has_its_own(
    team: Team, head: str, read: tuple[str, ...]
) -> None:
    project = project_of(team, head, options=", version_table=f'v_{x}'[:40]")
    seen = {}
    for tenant in (None, "a", "b", "a"):
        environment = project.environment_for(team.ours, {"tenant": tenant} if tenant else {})
        assert environment.x_read == read
        seen.setdefault(tenant, set()).add(environment.options["version_table"])
    assert {len(one) for one in seen.values()} == {1}
    if "'y' in x" not in head:
        assert len(set.union(*seen.values())) == 3


def test_so_many_sets_are_kept_and_a_forgotten_one_is_asked_again(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scripts, "MOST_ENVIRONMENTS", 4)
    project = project_of(team, RECIPE["head"], options=", version_table=f'v_{tenant}'")
    for _ in range(2):
        for number in range(10):
            found = project.environment_for(team.ours, {"tenant": str(number)})
            assert found.options["version_table"] == f"v_{number}"
            assert len(project._environments) <= 4


def test_a_tenant_is_migrated_rehearsed_and_checked_while_others_use_the_database(
    team: Team, tenants: URL
) -> None:
    project = project_of(team, **RECIPE)
    engine = sa.create_engine(tenants)
    with engine.connect() as _:  # no copy can be made of what is in use
        for schema in ("tenant_a", "Tenant-B"):
            database = project.at(at(tenants, schema), x={"tenant": schema})
            assert database.status().position is Position.EMPTY
            assert database.upgrade("a").after == ("a",)
            before = tables(tenants)
            tried = database.rehearse(database.plan())
            assert tried.failed is None
            assert tried.place.endswith("in a transaction that was rolled back")
            assert any("CREATE TABLE" in one for one in tried.statements)
            assert (tables(tenants), database.status().current) == (before, ("a",))
            assert database.upgrade().after == ("b",)
            assert database.check().is_clean
            run(tenants, f'DROP TABLE "{schema}".alembic_version')
            assert database.status().position is Position.UNSTAMPED
            assert database.adopt().revision == "b"
            assert database.downgrade("a").after == ("a",)
    engine.dispose()
    assert {schema for schema, _ in tables(tenants)} == {"tenant_a", "Tenant-B"}


@pytest.mark.parametrize("statement", ["/* x */ COMMIT", "CREATE TABLE t (); COMMIT", "end"])
def test_a_rehearsal_of_an_env_py_that_sends_commit_is_refused_and_changes_nothing(
    team: Team, tenants: URL, statement: str
) -> None:
    before = f"""connection.execute(text('SET search_path TO tenant_a'));
    connection.exec_driver_sql({statement!r})"""
    project = project_of(team, before=before)
    database = project.at(at(tenants, "tenant_a"))
    engine = sa.create_engine(tenants)
    with engine.connect() as _:
        tried = database.rehearse(database.plan())
    engine.dispose()
    assert "ends its transaction by a statement of its own" in str(tried.failed)
    assert tables(tenants) == []


@pytest.mark.parametrize(
    ("environment", "x", "says"),
    [
        (RECIPE, {}, "Give tenant=tenant_a as an -x argument"),
        (RECIPE, {"tenant": "other"}, "Give tenant=tenant_a as an -x argument"),
        (
            {
                **RECIPE,
                "head": RECIPE["head"] + "; context.get_x_argument(as_dictionary=True).get('y')",
            },
            {"tenant": "other"},
            r"Give env.py tenant_a as an -x argument \(it reads tenant, y\)",
        ),
        (
            {"before": RECIPE["before"], "head": "tenant = 'other'"},
            {},
            "Let env.py leave the schema",
        ),
        (
            {
                "head": "tenant = context.get_x_argument(as_dictionary=True)['tenant']",
                "options": ", version_table_schema='ours'",
                "before": "connection = connection.execution_options("
                "schema_translate_map={'ours': tenant})",
            },
            {"tenant": "other"},
            "keeps versions in the schema other.*Give tenant=tenant_a as an -x argument",
        ),
    ],
    ids=["none", "another", "several", "reads nothing", "translated"],
)
def test_what_would_look_elsewhere_is_refused_with_the_value_to_give(
    team: Team, tenants: URL, environment: dict[str, str], x: dict[str, str], says: str
) -> None:
    run(tenants, "CREATE SCHEMA other")
    database = project_of(team, **environment).at(at(tenants, "tenant_a"), x=x)
    for do in (database.status, database.upgrade, database.check):
        with pytest.raises(EnvironmentFailed, match=says):
            do()
    assert tables(tenants) == []


def test_an_argument_that_env_py_cannot_do_without_is_named(team: Team) -> None:
    head = "x = context.get_x_argument(as_dictionary=True)['tenant']"
    with pytest.raises(EnvironmentFailed, match=r"needs the -x argument tenant: give tenant=VALUE"):
        project_of(team, head).at(team.ours, x={"other": "1"}).status()


def test_a_program_says_in_its_own_words_where_a_value_is_given(team: Team, tenants: URL) -> None:
    words = Words(settings={"x": "TENANT_ARGUMENTS", "schema": "$SCHEMA"})
    environment = project_of(team, **RECIPE).environment_for(tenants)
    with pytest.raises(EnvironmentFailed, match=r"Give tenant=\$SCHEMA as TENANT_ARGUMENTS"):
        environment.refuse_another_schema(Address.of(at(tenants, "tenant_a")), words)


def test_templates_of_many_sets_are_not_kept_without_end(
    team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "MOST_FILES", 2)
    project = project_of(team)
    kept: set[str] = set()
    for number in (*range(5), 0):
        x = {"n": str(number)}
        url = team.ours.set(database=f"{team.root}/{len(kept)}-{number}.db")
        assert project.at(url, x=x).create() == ("b",)
        assert project.at(url, x=x).status().position is Position.AT_HEAD
        folder = templates._folder(os.getpid())
        found = {one.name for one in folder.glob("*.sqlite")}
        kept |= found
        assert len(found) <= 2
    assert len(kept) >= 5


def test_a_bounded_dict_forgets_the_oldest() -> None:
    found = Bounded(2)
    for number in (1, 2, 1, 3):
        found[number] = str(number)
    assert found == {2: "2", 3: "3"}
