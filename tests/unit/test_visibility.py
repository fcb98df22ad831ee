"""Which tables are narrowed to the projects that a member sees."""

from sqlalchemy import Table, inspect

from app.extensions import Base
from app.fleet.core.visibility import OF_PART, OF_PROJECT

OF_NO_PROJECT = {"account", "token", "event", "webhook", "delivery", "worker", "lease", "boot"}
OF_NO_PROJECT |= {"idempotency_key", "sign_in_limit"}
REACHED = {"run_sql"}
"""By the digest that a run has: who does not see the run does not know it."""


def tables() -> dict[str, type]:
    return {str(mapper.local_table.name): mapper.class_ for mapper in Base.registry.mappers}


def test_every_table_is_of_projects_and_narrowed_or_named_here() -> None:
    narrowed = {inspect(model).local_table.name for model in (*OF_PROJECT, *OF_PART)}
    assert set(tables()) == narrowed | OF_NO_PROJECT | REACHED
    assert not narrowed & (OF_NO_PROJECT | REACHED)


def test_what_refers_to_a_part_of_a_project_is_narrowed() -> None:
    parts = {"project", "database", "rollout", "run"}
    for name, model in tables().items():
        table = model.__table__  # type: ignore[attr-defined]
        assert isinstance(table, Table)
        if {key.column.table.name for key in table.foreign_keys} & parts:
            assert model in OF_PROJECT or model in OF_PART, name
