"""Databases that are registered: change them, one or many, and pin them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, insert, select, update

from app.errors import DatabaseRegistered, InputInvalid, RoleInsufficient
from app.extensions import db
from app.fleet.addresses import arguments
from app.fleet.core import audit
from app.fleet.core.permissions import PROJECT_RIGHTS, Actor
from app.fleet.core.selectors import Selector
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import fitting, labels_of, strategy_of
from app.fleet.counts import label_counts, positions
from app.fleet.databases.crud import (
    get_database,
    living,
    require_free,
    require_idle,
    require_may_leave,
)
from app.fleet.databases.request import Place, owner_known, place_of
from app.models import Database, Label, Project

CHANGEABLE = {"name", "notes", "strategy", "owner_id", "labels", "x", "url", "reference"}
AT_ONCE = 2000


@repeated
def change_database(
    actor: Actor, database_id: int, values: dict[str, Any], *, version: int | None
) -> Database:
    """The database with new values, if it still is the version that was read.

    Labels and -x arguments that are given are set, those given as None are taken away, the others
    stay. With another `url` or `reference`, or if env.py gets other arguments, nobody knows where
    it stands until a worker has looked. Raises RecordChanged, NameTaken, DatabaseRegistered, or
    StillNeeded within a rollout or a run.
    """
    actor.require("databases.change")
    values = _fit(values)
    place = place_of(values) if values.keys() & {"url", "reference"} else None
    labels, x = values.pop("labels", {}), values.pop("x", {})
    changes = {name: values[name] for name in values if name not in ("url", "reference")}
    with writing() as session:
        database = living(session, database_id, version)
        actor.require("databases.change", database.project_id)
        arguments.require_may_set(actor, database.project_id, x)
        if place:
            require_may_leave(actor, database)
        owner_known(session, values.get("owner_id"))
        before = positions.place_of(database)
        # What asks comes first: a question would write what is set so far, as a version of its own.
        given = arguments.without_none({**(database.x or {}), **x})
        is_led_elsewhere = _has_others(database, values.get("name"), labels, given)
        if is_led_elsewhere:
            require_idle(session, database)  # what a run has moved keeps its arguments: see Task.x
        with label_counts.kept(session, [database.id] if labels else []):
            told = _move(session, database, place) if place else {}
            if is_led_elsewhere:  # by env.py, which gets other arguments
                _forget(database)
            told |= (
                _set_arguments(database, given)
                | _set_columns(database, changes)
                | _set_labels(database, labels)
            )
            if told:
                database.updated_at = datetime.now(UTC)  # labels alone would not count as a change
                session.flush()
        if told:
            audit.record(session, actor, "database.changed", ("database", database.id), **told)
            if before != positions.place_of(database):
                positions.shift(session, left=[before], entered=[positions.place_of(database)])
    return get_database(actor, database_id)


@repeated
def pin_database(actor: Actor, database_id: int, *, reason: str, until: datetime) -> Database:
    """The database, left alone by rollouts until a moment, and why. Raises InputInvalid."""
    actor.require("databases.change")
    if not reason.strip():
        raise InputInvalid("Give the reason for the pin.", field="reason")
    fitting(Database, {"pin_reason": reason})
    if until.tzinfo is None or until <= datetime.now(UTC):
        raise InputInvalid(
            "A pin has to end in the future. Give a time with its time zone.", field="until"
        )
    return _pin(actor, database_id, reason, until)


@repeated
def unpin_database(actor: Actor, database_id: int) -> Database:
    """The database, open to rollouts again."""
    actor.require("databases.change")
    return _pin(actor, database_id, None, None)


def change_many(
    actor: Actor,
    selector: Selector,
    *,
    labels: Mapping[str, str | None] | None = None,
    strategy: str | None = None,
) -> int:
    """Give labels (None takes one away) or a strategy to all that are chosen; how many those are.

    In transactions of 2,000: who reads meanwhile may see a part of it. Raises RoleInsufficient,
    and changes nothing, if some are of projects in which the actor may not do that.
    """
    actor.require("databases.change")
    labels = labels_of(labels or {})
    if strategy is not None:
        strategy_of(strategy)
    if not labels and strategy is None:
        raise InputInvalid("Nothing to change was given. Give labels or a strategy.")
    _require_in_all(actor, selector)
    ids = db.session.scalars(
        select(Database.id).where(*selector.conditions()).order_by(Database.id)
    ).all()
    moved = _with_arguments_of(selector, labels)
    for start in range(0, len(ids), AT_ONCE):
        _change_some(actor, ids[start : start + AT_ONCE], labels, strategy)
    if moved:
        _look_again(moved)
    return len(ids)


def _with_arguments_of(selector: Selector, labels: Mapping[str, str | None]) -> list[int]:
    """The projects of what is chosen whose -x arguments are made of these labels."""
    if not labels:
        return []
    chosen = select(Database.project_id).where(*selector.conditions())
    found = db.session.execute(select(Project.id, Project.x).where(Project.id.in_(chosen)))
    return [row.id for row in found if arguments.labels_asked(row.x) & labels.keys()]


@repeated
def _look_again(projects: Sequence[int]) -> None:
    """Have all databases of these projects looked at: env.py may look elsewhere."""
    with writing() as session:
        session.execute(
            update(Project)
            .where(Project.id.in_(projects))
            .values(refresh_asked_at=datetime.now(UTC), updated_at=Project.updated_at),
            execution_options={"synchronize_session": False},
        )


def _require_in_all(actor: Actor, selector: Selector) -> None:
    if actor.role.includes(PROJECT_RIGHTS["databases.change"]):
        return
    mine = [one for one in actor.grants if actor.may("databases.change", one)]
    query = select(Project.name).join(Database, Database.project_id == Project.id)
    query = query.where(*selector.conditions(), Project.id.not_in(mine)).distinct()
    if others := db.session.scalars(query.order_by(Project.name)).all():
        raise RoleInsufficient(
            "Some of these databases belong to projects in which you are not an operator: "
            f"{', '.join(others)}. Nothing was changed. Choose only databases of your own projects."
        )


def _fit(values: dict[str, Any]) -> dict[str, Any]:
    plain = {k: v for k, v in values.items() if k in ("name", "notes", "reference")}
    values = values | fitting(Database, plain)
    if "strategy" in values:
        strategy_of(values["strategy"])
    if "labels" in values:
        values["labels"] = labels_of(values["labels"] or {})
    if "x" in values:
        values["x"] = arguments.checked(values["x"] or {})
    if unknown := set(values) - CHANGEABLE:
        raise InputInvalid(f"{', '.join(sorted(unknown))} cannot be changed in a database.")
    return values


def _set_columns(database: Database, values: Mapping[str, Any]) -> dict[str, Any]:
    told = {}
    for name, value in values.items():
        if (before := getattr(database, name)) != value:
            setattr(database, name, value)
            told[name] = [before, value]
    return told


def _set_labels(database: Database, labels: Mapping[str, str | None]) -> dict[str, Any]:
    before = {label.name: label.value for label in database.labels}
    after = {name: value for name, value in (before | dict(labels)).items() if value is not None}
    if before == after:
        return {}
    labels_of(after)  # not too many, together
    for label in list(database.labels):
        if label.name not in after:
            database.labels.remove(label)
        else:
            label.value = after[label.name]
    database.labels += [Label(name=n, value=v) for n, v in after.items() if n not in before]
    return {"labels": [before, after]}


def _move(session: CatalogSession, database: Database, place: Place) -> dict[str, Any]:
    """Another address: what was known of the old one is forgotten."""
    require_free(session, database)
    identity = place.identity
    if identity and identity != database.identity:
        other = session.scalar(select(Database.id).where(Database.identity == identity))
        if other:
            raise DatabaseRegistered(
                f"This address is already registered, as database {other}.", database=other
            )
    before = database.address
    is_elsewhere = identity is None or identity != database.identity
    for name, value in place.columns().items():
        setattr(database, name, value)
    if is_elsewhere:
        _forget(database)
    return {"address": [before, database.address]}


def _set_arguments(database: Database, x: dict[str, str]) -> dict[str, Any]:
    if (before := database.x or {}) == x:
        return {}
    arguments.checked(x)  # not too many, together
    database.x = x or None
    return {"x": [before, x]}


def _has_others(
    database: Database, name: str | None, labels: Mapping[str, str | None], x: Mapping[str, str]
) -> bool:
    """True if env.py is given other arguments with this name, these labels and its own x."""
    project = database.project.x
    given = arguments.merged(project, x)
    if given != arguments.merged(project, database.x):
        return True
    asked, known = arguments.asked(given), {label.name: label.value for label in database.labels}
    if "name" in asked and name not in (None, database.name):
        return True
    return any(
        f"{arguments.OF_LABEL}{label}" in asked and known.get(label) != value
        for label, value in labels.items()
    )


def _forget(database: Database) -> None:
    """Where it stands is not known until it is looked at."""
    database.position, database.current = "", ""
    database.pending = database.size_bytes = database.milliseconds = database.drift = None
    database.reason = database.asked_at = database.seen_at = database.drift_at = None


def _pin(actor: Actor, database_id: int, reason: str | None, until: datetime | None) -> Database:
    with writing() as session:
        database = living(session, database_id)
        actor.require("databases.change", database.project_id)
        if (database.pin_reason, database.pin_until) != (reason, until):
            database.pin_reason, database.pin_until = reason, until
            session.flush()
            audit.record(
                session,
                actor,
                "database.pinned" if until else "database.unpinned",
                ("database", database.id),
                reason=reason,
                until=until.isoformat() if until else None,
            )
    return get_database(actor, database_id)


@repeated
def _change_some(
    actor: Actor, ids: Sequence[int], labels: Mapping[str, str | None], strategy: str | None
) -> None:
    with writing() as session:
        values: dict[str, Any] = {"version": Database.version + 1}
        if strategy is not None:
            values["strategy"] = strategy
        session.execute(
            update(Database).where(Database.id.in_(ids)).values(values),
            execution_options={"synchronize_session": False},
        )
        if labels:
            with label_counts.kept(session, ids):
                _label(session, ids, labels)
        audit.record(
            session,
            actor,
            "databases.changed",
            ("databases", None),
            databases=len(ids),
            first=ids[0],
            last=ids[-1],
            labels=dict(labels),
            strategy=strategy,
        )
    db.session.expire_all()


def _label(session: CatalogSession, ids: Sequence[int], labels: Mapping[str, str | None]) -> None:
    gone = delete(Label).where(Label.database_id.in_(ids), Label.name.in_(labels))
    session.execute(gone, execution_options={"synchronize_session": False})
    rows = [
        {"database_id": key, "name": name, "value": value}
        for name, value in labels.items()
        if value is not None
        for key in ids
    ]
    if rows:
        session.execute(insert(Label.__table__), rows)  # type: ignore[arg-type]
