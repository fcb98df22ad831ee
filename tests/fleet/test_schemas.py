"""Tenants that are schemas of one PostgreSQL database: created by a run, dropped, rehearsed."""

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.errors import DatabaseRegistered
from app.extensions import db
from app.fleet import databases, rollouts, runs
from app.fleet.addresses import urls
from app.fleet.core.transactions import writing
from app.fleet.refresh import refresh
from app.fleet.workers import lost_runs
from app.models import Database, Run, State
from headway.errors import (
    AddressInvalid,
    DatabaseExists,
    DatabaseMissing,
    HeadwayError,
    StillNeeded,
)
from tests.fleet.fleets import ME, ROOT, Fleet, created, fresh, lose_worker, write_revision
from tests.migrator.making import rest, rows, run
from tests.migrator.test_schemas import BESIDE


@pytest.fixture
def shared(postgresql_url: URL) -> URL:
    """A database with tables in public, and another's schema."""
    run(postgresql_url, *BESIDE)
    return postgresql_url


def at(shared: URL, schema: str) -> str:
    text = shared.render_as_string(hide_password=False)
    return f"{text}?schema={schema}"


def asked(fleet: Fleet, shared: URL, schema: str) -> databases.Creation:
    values = {"project_id": fleet.project_id, "name": schema, "url": at(shared, schema)}
    return databases.create_database(ROOT, values)


def the_run(creation: databases.Creation) -> Run:
    fresh()
    return runs.list_runs(ROOT, limit=9, rollout_id=creation.rollout_id)[0][-1]


def versions(shared: URL, schema: str) -> list[str]:
    return [name for (name,) in rows(shared, f"SELECT version_num FROM {schema}.alembic_version")]


def test_a_tenant_is_created_by_a_run_and_dropped_alone(fleet: Fleet, shared: URL) -> None:
    before = rest(shared)
    made = []
    for name in ("acme", "zoe"):
        creation = asked(fleet, shared, name)
        fleet.drain()
        made.append(created(creation))
        assert made[-1].position == "at_head"
        assert versions(shared, name) == ["r003"]
    both = rest(shared)
    with pytest.raises(DatabaseRegistered):
        asked(fleet, shared, "acme")
    done = databases.drop_database(ROOT, made[0].id, confirm="acme", seconds=60)
    assert done.note.startswith(
        f"The schema acme was dropped from {shared.database}, and nothing else"
    )
    assert rest(shared) == both
    assert versions(shared, "zoe") == ["r003"]
    databases.drop_database(ROOT, made[1].id, confirm="zoe")
    assert rest(shared) == before
    creation = asked(fleet, shared, "acme")
    fleet.drain()
    assert created(creation).position == "at_head"


def test_a_schema_that_is_there_is_not_touched_even_if_it_is_empty(
    fleet: Fleet, shared: URL
) -> None:
    run(shared, "CREATE SCHEMA acme")
    before = rest(shared, "nobody's")
    creation = asked(fleet, shared, "acme")
    fleet.drain()
    with pytest.raises(DatabaseExists, match="Register it instead"):
        created(creation)
    assert rest(shared, "nobody's") == before
    other = shared.set(database=f"{shared.database}_missing")
    creation = asked(fleet, other, "acme")
    fleet.drain()
    with pytest.raises(DatabaseMissing, match="Create the database first"):
        created(creation)


def test_a_revision_that_fails_leaves_no_schema(fleet: Fleet, shared: URL) -> None:
    before = rest(shared)
    write_revision(fleet.scripts, "r004", "r003", ['op.execute("SELECT 1/0")'], ["pass"])
    fleet.load()
    creation = asked(fleet, shared, "acme")
    fleet.drain()
    with pytest.raises(HeadwayError, match="division by zero"):
        created(creation)
    assert rest(shared) == before
    assert rows(shared, "SELECT 1 FROM pg_namespace WHERE nspname = 'acme'") == []


@pytest.mark.parametrize("left", ["nothing", "empty", "whole"])
def test_a_worker_that_is_lost_in_the_middle_is_followed_by_another(
    fleet: Fleet, shared: URL, left: str
) -> None:
    creation = asked(fleet, shared, "acme")
    begun = the_run(creation)
    with writing() as session:
        values = {"state": State.RUNNING, "worker": ME, "before": "", "aim": "r003"}
        session.execute(sa.update(Run).where(Run.id == begun.id).values(**values))
    if left != "nothing":
        run(shared, "CREATE SCHEMA acme")
    if left == "whole":
        from headway import Project as Scripts

        Scripts.load(fleet.scripts).at(at(shared, "acme")).upgrade()
    lose_worker()
    lost_runs.resolve_lost()
    assert the_run(creation).state == ("succeeded" if left == "whole" else "pending")
    fleet.drain()
    assert created(creation).position == "at_head"
    assert versions(shared, "acme") == ["r003"]


def test_what_others_have_keeps_a_tenant_in_the_fleet(fleet: Fleet, shared: URL) -> None:
    creation = asked(fleet, shared, "acme")
    fleet.drain()
    run(shared, "CREATE VIEW public.all_of_it AS SELECT id FROM acme.t1")
    before = rest(shared, "nobody's")
    with pytest.raises(StillNeeded, match=r"view public\.all_of_it"):
        databases.drop_database(ROOT, creation.database_id, confirm="acme", seconds=60)
    assert rest(shared, "nobody's") == before
    fresh()
    assert databases.get_database(ROOT, creation.database_id).retired_at is None
    assert fleet.counts() == {("at_head", "r003"): 1}


@pytest.mark.parametrize("options", ["schema=public", "options=-csearch_path%3Dpublic,acme"])
def test_public_is_nobodys_to_be_dropped_or_made(fleet: Fleet, shared: URL, options: str) -> None:
    url = f"{shared.render_as_string(hide_password=False)}?{options}"
    before = rest(shared, "nobody's")
    made = fleet.register("all", url)
    with pytest.raises(StillNeeded, match="The schema public belongs to all"):
        databases.drop_database(ROOT, made.id, confirm="all")
    databases.retire_database(ROOT, made.id)
    with pytest.raises(StillNeeded, match="The schema public belongs to all"):
        databases.create_database(ROOT, {"project_id": fleet.project_id, "name": "new", "url": url})
    assert rest(shared, "nobody's") == before


def test_a_tenant_is_rehearsed_while_another_is_used(fleet: Fleet, shared: URL) -> None:
    names = {}
    for name in ("acme", "zoe"):
        creation = asked(fleet, shared, name)
        fleet.drain()
        names[created(creation).id] = name
    write_revision(fleet.scripts, "r004", "r003", ["op.add_column('t1', sa.Column('y', sa.Integer))"], ["op.drop_column('t1', 'y')"])  # fmt: skip
    fleet.load()
    before = rest(shared, "nobody's")
    rollout = fleet.rollout()
    engine = sa.create_engine(urls.parse(at(shared, "zoe")), poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql("UPDATE t1 SET name = name")
        rollouts.rehearse_rollout(ROOT, rollout.id)
        fleet.drain()
    found = {
        names[one.database_id]: one for one in fleet.runs_of(rollout) if one.kind == "rehearse"
    }
    assert found["acme"].state == "succeeded"
    assert found["zoe"].state == "failed"
    assert "lock timeout" in (found["zoe"].error or "")
    assert rest(shared, "nobody's") == before


def test_the_command_says_that_it_is_a_schema(fleet: Fleet, shared: URL) -> None:
    creation = asked(fleet, shared, "acme")
    fleet.drain()
    made: Database = created(creation)
    runner = fleet.app.test_cli_runner()
    asked_for = runner.invoke(args=["databases", "drop", "acme"], input="n\n")
    assert f"Drop the schema acme of {made.address} and all that is in it?" in asked_for.output
    done = runner.invoke(args=["databases", "drop", "acme"], input="y\nacme\n")
    assert "The schema acme was dropped" in done.output, done.output
    db.session.remove()


@pytest.mark.parametrize("setting", ["ROLE {role}", "ROLE {role} IN DATABASE {name}", "DATABASE {name}"])  # fmt: skip
def test_a_schema_that_the_server_sets_is_said_in_the_url_or_refused(
    fleet: Fleet, shared: URL, setting: str
) -> None:
    """Else it would be a second member of that schema, or be taken for the whole database."""
    role = f"headway_test_{shared.database}"
    run(
        shared,
        f"CREATE ROLE {role} LOGIN SUPERUSER",
        "CREATE SCHEMA acme",
        f"ALTER {setting.format(role=role, name=shared.database)} SET search_path = acme",
    )
    try:
        url = shared.set(username=role).render_as_string(hide_password=False)
        values = {"project_id": fleet.project_id, "name": "plain", "url": url}
        made, _ = databases.register_database(ROOT, values)
        refresh.refresh(fleet.project_id, [made.id])
        fresh()
        plain = databases.get_database(ROOT, made.id)
        assert plain.position == "unreachable"
        assert "in the schema acme" in (plain.reason or "")
        databases.run_one(ROOT, plain.id, "upgrade")
        fleet.drain()
        fresh()
        assert rows(shared, "SELECT count(*) FROM pg_tables WHERE schemaname = 'acme'") == [(0,)]
        with pytest.raises(AddressInvalid, match=r"\?schema=acme"):
            databases.drop_database(ROOT, plain.id, confirm="plain", seconds=60)
        databases.retire_database(ROOT, plain.id)
        said = fleet.register("said", at(shared.set(username=role), "acme"))
        assert said.position == "empty"
        before = rest(shared)
        databases.drop_database(ROOT, said.id, confirm="said", seconds=60)
        assert rest(shared) == before
    finally:
        run(shared, f"ALTER DATABASE {shared.database} RESET search_path", f"DROP ROLE {role}")
