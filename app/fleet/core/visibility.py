"""What a member of some projects sees of the catalog: their projects, and what is of them.

One place for all queries: whatever a session reads once such an account has asked for a right is
narrowed to its projects, in lists, counts and subqueries alike: what is of another is not there.
"""

from typing import Any

from flask import g, has_app_context
from sqlalchemy import ColumnElement, event, select
from sqlalchemy.orm import ORMExecuteState, Session, with_loader_criteria

from app.extensions import Base, db
from app.models import (
    Approval,
    Database,
    Difference,
    Grant,
    Ignored,
    Label,
    LabelCount,
    PositionCount,
    Project,
    Revision,
    Rollout,
    Run,
    RunTally,
)

WHOLE_FLEET = "headway.whole_fleet"
"""Execution option of a query that must see all: what is unique in the fleet, say."""
OF_PROJECT: dict[type[Base], Any] = {
    Project: Project.id,
    **{
        model: model.project_id
        for model in (
            *(Database, Difference, Grant, Ignored, LabelCount, PositionCount, Revision, Rollout),
        )
    },
}
"""Model -> its column with the project."""
OF_PART: dict[type[Base], tuple[Any, type[Base]]] = {
    Approval: (Approval.rollout_id, Rollout),
    Label: (Label.database_id, Database),
    Run: (Run.rollout_id, Rollout),
    RunTally: (RunTally.rollout_id, Rollout),
}
"""Model -> its column with what it is a part of, and the model of that."""


def narrow_to(projects: frozenset[int] | None) -> None:
    """From now on, until the end of the request, queries see these projects alone; None: all."""
    if not has_app_context():
        return
    if projects is not None and g.get("sees") != projects:
        db.session.expunge_all()  # a row that was read before would be found without a query
    g.sees = projects


@event.listens_for(Session, "do_orm_execute")
def _narrow(state: ORMExecuteState) -> None:
    projects = g.get("sees") if has_app_context() else None
    if projects is None or not state.is_select or state.execution_options.get(WHOLE_FLEET):
        return
    if state.is_column_load or state.is_relationship_load:
        return  # of a row that was seen
    if not state.is_orm_statement:
        raise TypeError("A query of tables cannot be narrowed to projects: ask for the models.")
    for model, condition in _conditions(projects):
        state.statement = state.statement.options(
            with_loader_criteria(model, condition, include_aliases=True)
        )


def _conditions(projects: frozenset[int]) -> list[tuple[type[Base], ColumnElement[bool]]]:
    found = [(model, column.in_(projects)) for model, column in OF_PROJECT.items()]
    for model, (column, whole) in OF_PART.items():
        table = whole.__table__.c
        found.append((model, column.in_(select(table.id).where(table.project_id.in_(projects)))))
    return found
