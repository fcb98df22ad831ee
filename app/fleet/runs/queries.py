"""Read and export runs. They are kept for ever."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from flask import current_app
from sqlalchemy import insert, select, tuple_
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, undefer
from sqlalchemy.orm.attributes import set_committed_value

from app.errors import RunNotFound
from app.extensions import db
from app.fleet.core import error_texts
from app.fleet.core.pagination import page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession
from app.fleet.core.validation import LARGEST_ID
from app.models import Database, Rollout, Run, RunSql
from headway.types import Bounded

LARGEST = 2**63 - 1
BATCH = 1000
MOST_STORED = 256


def list_runs(
    actor: Actor,
    *,
    limit: int,
    after: int | None = None,
    rollout_id: int | None = None,
    database_id: int | None = None,
    states: Sequence[str] = (),
    kind: str | None = None,
    replaced: bool = False,
    newest: bool = False,
) -> tuple[list[Run], int | None]:
    """A page of runs in the order of creation, and the `after` of the next page.

    Runs that a later attempt replaced are left out unless `replaced`; `newest` reverses the order.
    """
    actor.require("rollouts.read")
    query = select(Run).order_by(Run.id.desc() if newest else Run.id)
    if after is not None:
        after = min(after, LARGEST)
        query = query.where(Run.id < after if newest else Run.id > after)
    for column, value in (
        (Run.rollout_id, rollout_id),
        (Run.database_id, database_id),
        (Run.kind, kind),
    ):
        if value is not None:
            query = query.where(column == value)
    if states:
        query = query.where(Run.state.in_(states))
    if not replaced:
        query = query.where(Run.replaced_by.is_(None))
    found, following = page_of(query, limit)
    return _shown_to(actor, found), following


def list_of_rollout(
    actor: Actor,
    rollout_id: int,
    kind: str,
    *,
    limit: int,
    after: tuple[int, int] | None = None,
    state: str | None = None,
) -> tuple[list[Run], tuple[int, int] | None]:
    """A page of the last attempts of a rollout, in their order, and the `after` of the next page.

    `after` is (wave, place) of the last run of the previous page. `state` filters.
    """
    actor.require("rollouts.read")
    query = select(Run).where(
        Run.rollout_id == rollout_id, Run.kind == kind, Run.replaced_by.is_(None)
    )
    if state is not None:
        query = query.where(Run.state == state)
    if after is not None:
        place = (max(-LARGEST_ID, min(one, LARGEST_ID)) for one in after)
        query = query.where(tuple_(Run.wave, Run.seq) > tuple_(*place))
    found = list(db.session.scalars(query.order_by(Run.wave, Run.seq).limit(limit + 1)))
    last = found[limit - 1] if len(found) > limit else None
    shown = _shown_to(actor, found[:limit])
    return shown, (last.wave, last.seq) if last else None


def get_run(actor: Actor, run_id: int) -> Run:
    """The run with its log, or RunNotFound."""
    actor.require("rollouts.read")
    run = db.session.get(Run, run_id, options=[undefer(Run.log)]) if 0 < run_id <= LARGEST else None
    if run is None:
        raise RunNotFound(f"There is no run {run_id}.", run=run_id)
    return _shown_to(actor, [run])[0]


def _shown_to(actor: Actor, found: list[Run]) -> list[Run]:
    """The runs without the texts of databases and scripts that the actor may not read."""
    projects: dict[int, int] = {}
    if actor.grants:
        ids = {run.rollout_id for run in found}
        query = select(Rollout.id, Rollout.project_id).where(Rollout.id.in_(ids))
        projects = {row.id: row.project_id for row in db.session.execute(query)}
    for run in found:
        _hide_texts(actor, run, projects.get(run.rollout_id))
    return found


def _hide_texts(actor: Actor, run: Run, project_id: int | None) -> None:
    if not actor.may("runs.texts", project_id):
        set_committed_value(run, "error", error_texts.for_all(run.error, run.problem))
        set_committed_value(run, "log", None)


def names_of(found: Sequence[Run]) -> dict[int, str]:
    """The names of the databases of these runs, by id."""
    ids = {run.database_id for run in found}
    rows = db.session.execute(select(Database.id, Database.name).where(Database.id.in_(ids)))
    return {row.id: row.name for row in rows}


def sql_of(run: Run) -> str | None:
    """The SQL that a run sent; None if it sent none or has not ended."""
    if run.sql_digest is None:
        return None
    return db.session.scalar(select(RunSql.text).where(RunSql.digest == run.sql_digest))


def keep_sql(session: CatalogSession, sent: Iterable[Sequence[str]]) -> list[str | None]:
    """Store SQL once for all runs that send the same. Returns their digests; None for no SQL."""
    texts = [";\n".join(statements) for statements in sent]
    digests = [hashlib.sha256(text.encode()).hexdigest() if text else None for text in texts]
    # Those that are there already: a rollout sends the same to each database.
    stored = current_app.extensions.setdefault("headway.stored_sql", Bounded(MOST_STORED))
    for digest, text in {d: t for d, t in zip(digests, texts, strict=True) if d}.items():
        if digest in stored:
            continue
        if session.scalar(select(RunSql.digest).where(RunSql.digest == digest)) is None:
            try:
                with session.begin_nested():
                    session.execute(insert(RunSql).values(digest=digest, text=f"{text};\n"))
            except IntegrityError:
                pass  # another run has just stored it
            continue  # this transaction may yet be rolled back
        stored[digest] = True
    return digests


def export(
    actor: Actor, *, rollout_id: int | None = None, database_id: int | None = None
) -> Iterator[dict[str, Any]]:
    """All runs, oldest first, with the names of database and rollout, the SQL and the log."""
    actor.require("rollouts.read")
    query = (
        select(Run, Database.name, RunSql.text)
        .add_columns(Rollout.title, Rollout.by_name, Rollout.project_id)
        .join(Database, Database.id == Run.database_id)
        .join(Rollout, Rollout.id == Run.rollout_id)
        .outerjoin(RunSql, RunSql.digest == Run.sql_digest)
        .options(undefer(Run.log))
        .order_by(Run.id)
    )
    if rollout_id is not None:
        query = query.where(Run.rollout_id == rollout_id)
    if database_id is not None:
        query = query.where(Run.database_id == database_id)
    return _rows(actor, query)


def _rows(actor: Actor, query: Any) -> Iterator[dict[str, Any]]:
    after = 0
    while True:
        # A session for each thousand: a million of them need not be in memory.
        with Session(db.engine) as session:
            found = session.execute(query.where(Run.id > after).limit(BATCH)).all()
        for run, database, sql, title, by_name, project_id in found:
            _hide_texts(actor, run, project_id)
            yield {
                "database": database,
                "rollout": title,
                "by": by_name,
                **{column.key: getattr(run, column.key) for column in EXPORTED},
                "sql": sql,
            }
        if len(found) < BATCH:
            return
        after = found[-1][0].id


EXPORTED = [column for column in Run.__table__.columns if column.key not in ("sql_digest", "seq")]
