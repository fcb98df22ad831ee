"""Ids that are never given again: the audit trail refers to what was deleted by its id.

PostgreSQL and MariaDB count on. SQLite gives the highest id plus one, so that of the newest row
again when that is deleted; a table would have to be rebuilt to change that. The audit trail knows
every id that was given, and nobody deletes from it.
"""

from typing import Any

from sqlalchemy import Connection, event, func, select
from sqlalchemy.orm import Mapper

from app.models.accounts import Account
from app.models.events import Event
from app.models.projects import Project
from app.models.tokens import Token
from app.models.webhooks import Webhook

DELETABLE = {Account: "account", Token: "token", Project: "project", Webhook: "webhook"}
"""Model -> its type of subject in the trail. Rows of its other subjects are never deleted."""


def _number(mapper: Mapper[Any], connection: Connection, row: Any) -> None:
    if connection.dialect.name != "sqlite" or row.id is not None:
        return
    model = mapper.class_
    told = select(func.max(Event.subject_id)).where(Event.subject_type == DELETABLE[model])
    there = select(func.max(model.id))
    highest = (func.coalesce(found.scalar_subquery(), 0) for found in (there, told))
    row.id = select(func.max(*highest) + 1).scalar_subquery()


for _model in DELETABLE:
    event.listen(_model, "before_insert", _number)
