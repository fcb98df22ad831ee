"""A plan as SQL goes where the run goes, or says what of the run is not in it."""

from collections.abc import Callable

import pytest
from sqlalchemy.engine import URL

from headway.errors import PreviewImpossible
from headway.plan.register import sql_of
from headway.project import Project
from tests.migrator.team import FROM_CONFIG, LISTENER, LISTENING, Team, made, pg

ROWS = """
items = op.create_table('t_a', sa.Column('id', sa.Integer, primary_key=True))
op.create_index('i_a', 't_a', ['id'])
op.bulk_insert(items, [{'id': 7}])
"""
MAP = "schema_translate_map={None: 'acme'}"
TRANSLATED = {
    "engine": {"engine": made("execution_options={'schema_translate_map': {None: 'acme'}}")},
    "copy of the engine": {"engine": f"{FROM_CONFIG}.execution_options({MAP})"},
    "connection": {"before": f"connection = connection.execution_options({MAP})"},
}
PLACES = (
    "SELECT schemaname::text, tablename::text FROM pg_tables WHERE schemaname IN ('acme', 'public')"
)


def preview(project: Project, url: URL, target: str = "heads") -> str:
    database = project.at(url)
    return database.preview(database.plan(target))


@pytest.mark.parametrize("way", TRANSLATED)
def test_schemas_are_translated_as_the_run_translates_them(
    team: Team, fresh_url: Callable[[str], URL], way: str
) -> None:
    ran, shown = fresh_url("postgresql"), fresh_url("postgresql")
    for url in (ran, shown):
        pg(url, "CREATE SCHEMA acme")
    team.ini().revision("a", None, ROWS, "op.drop_table('t_a')")
    team.revision("b", "a", "op.create_table('t_b', sa.Column('id', sa.Integer), schema='public')")
    project = team.env(**TRANSLATED[way]).load()

    script = preview(project, shown)
    project.at(ran).upgrade()
    pg(shown, *[one for one in script.replace("COMMIT;", "").split(";") if one.strip()])

    assert sorted(pg(shown, PLACES)) == sorted(pg(ran, PLACES))
    assert ("acme", "t_a") in pg(ran, PLACES)
    assert pg(shown, "SELECT id FROM acme.t_a") == [(7,)]
    assert project.at(shown).status().current == ("b",)
    kept = sql_of(project, ["a"], {})["a"]["postgresql"]["upgrade"]
    assert kept is not None
    assert "CREATE TABLE acme.t_a" in kept
    assert "INSERT INTO acme.t_a" in kept


def test_an_env_py_that_runs_for_several_schemas_has_no_one_script(
    team: Team, postgresql_url: URL
) -> None:
    pg(postgresql_url, "CREATE SCHEMA acme", "CREATE SCHEMA other")
    team.two().ini().write(
        "migrations/env.py",
        """
        from alembic import context
        from sqlalchemy import create_engine
        engine = create_engine(context.config.get_main_option("sqlalchemy.url"))
        for schema in ("acme", "other"):
            with engine.connect() as connection:
                own = connection.execution_options(schema_translate_map={None: schema})
                context.configure(connection=own)
                with context.begin_transaction():
                    context.run_migrations()
        """,
    )
    project = team.load()
    database = project.at(postgresql_url)
    plan = database.plan()
    with pytest.raises(PreviewImpossible, match="runs the revisions 2 times"):
        database.preview(plan)
    assert isinstance(database.risks(plan), tuple)
    assert sql_of(project, ["a"], {})["a"]["postgresql"]["upgrade"] is None


def test_a_schema_that_depends_on_the_database_is_not_kept_for_others(
    team: Team, postgresql_url: URL
) -> None:
    schema = "{None: engine.url.database}"
    before = f"connection = connection.execution_options(schema_translate_map={schema})"
    project = team.two().ini().env(before=before).load()
    pg(postgresql_url, f'CREATE SCHEMA "{postgresql_url.database}"')
    assert f"CREATE TABLE {postgresql_url.database}.t_a" in preview(project, postgresql_url)
    assert sql_of(project, ["a"], {})["a"]["postgresql"]["upgrade"] is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"before": "connection.execute(text('SET ROLE postgres'))"}, "SET ROLE postgres"),
        (
            {"before": "connection.execute(text('SET search_path TO acme, public'))"},
            "SET search_path TO acme, public",
        ),
        (
            {"engine": made("connect_args={'options': '-c search_path=acme'}")},
            "arguments of its own (options); it looks in schema acme",
        ),
        (
            {"head": LISTENER + LISTENING, "engine": f"listening({made('')})"},
            "its engine has listeners (connect)",
        ),
    ],
    ids=["role", "search_path", "arguments", "listener"],
)
def test_what_env_py_sets_up_itself_is_named_above_the_script(
    team: Team, postgresql_url: URL, said: dict[str, str], words: str
) -> None:
    pg(postgresql_url, "CREATE SCHEMA acme")
    if "SET" in said.get("before", ""):
        said = {"before": said["before"] + "; connection.commit()"}
    first = preview(team.two().ini().env(**said).load(), postgresql_url).splitlines()[0]
    assert first.startswith("-- env.py is executed for each database")
    assert words in first


def test_one_that_only_configures_has_nothing_above_it(team: Team) -> None:
    assert "env.py" not in preview(team.two().ini().env().load(), team.ours)
