"""`/api/v1/databases` and `/api/v1/overview`."""

from contextlib import suppress
from typing import Any

from apiflask import APIBlueprint
from flask import url_for

from app.api import access, conditions, preferences, responses
from app.api.schemas.common import Idempotent, Named
from app.api.schemas.databases import (
    DatabaseChange,
    DatabaseIn,
    DatabaseOut,
    DatabasePage,
    DatabaseQuery,
    Drop,
    DroppedOut,
    Imported,
    ImportIn,
    ManyChange,
    ManyChanged,
    OverviewOut,
    OverviewQuery,
    Pin,
)
from app.api.schemas.runs import CreationOut
from app.errors import InputInvalid, RecordChanged, ServerBusy
from app.fleet import databases as fleet
from app.fleet import rollouts
from app.fleet.core import places
from app.fleet.core.selectors import Selector
from app.fleet.databases import import_sources
from app.fleet.reports import overview as glance
from app.models import Database

bp = APIBlueprint("databases", __name__, tag="databases")

MOST_ROWS = 10_000


@bp.post("/databases")
@bp.input(DatabaseIn, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(DatabaseOut, status_code=201)
@bp.doc(summary="Register a database that is there", operation_id="registerDatabase")
def register(body: DatabaseIn, idempotent: Idempotent) -> Any:
    database, replayed = fleet.register_database(
        access.actor(), body.model_dump(), key=idempotent.idempotency_key
    )
    return _made(database, replayed)


@bp.post("/databases/create")
@bp.input(DatabaseIn, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(CreationOut, status_code=202)
@bp.doc(summary="Create a database and register it", operation_id="createDatabase")
def create(body: DatabaseIn, idempotent: Idempotent) -> Any:
    actor, seconds = access.actor(), preferences.wait_seconds()
    creation = fleet.create_database(actor, body.model_dump(), key=idempotent.idempotency_key)
    applied = {}
    if seconds is not None:
        with suppress(ServerBusy), places.WAITING.take():  # else this one does not wait
            applied = preferences.applied(seconds)
            if database := fleet.created_within(actor, creation, seconds):
                return _made(database, creation.replayed, **applied)
    database = fleet.get_database(actor, creation.database_id)
    rollout = rollouts.get_rollout(actor, creation.rollout_id)
    headers = responses.under_way(rollout.id) | applied
    return CreationOut.of(database, rollout), 202, headers


@bp.post("/databases/import")
@bp.input(ImportIn, arg_name="body")
@bp.output(Imported)
@bp.doc(
    summary="Register many: files, databases, schemas, CSV, JSON", operation_id="importDatabases"
)
def import_(body: ImportIn) -> Any:
    actor = access.actor()
    actor.require("databases.change")  # before a server is asked
    rows = import_sources.at_most(MOST_ROWS, _source(body))
    done = fleet.register_many(actor, body.project_id, rows)
    refused = [{"line": line, "why": why} for line, why in done.refused]
    return {"added": done.added, "known": done.known, "refused": refused}


@bp.get("/databases")
@bp.input(DatabaseQuery, location="query", arg_name="query")
@bp.output(DatabasePage)
@bp.doc(summary="List databases", operation_id="listDatabases")
def list_(query: DatabaseQuery) -> Any:
    values = query.model_dump()
    page = {name: values.pop(name) for name in ("limit", "after", "retired")}
    position, label = values.pop("position"), values.pop("label")
    selector = Selector.of(
        values | {"positions": [position] if position else None, "labels": _labels(label)}
    )
    found, following = fleet.list_databases(access.actor(), selector, **page)
    return {"items": found, "next": following}, 200, responses.next_link(following)


@bp.get("/databases/find")
@bp.input(Named, location="query", arg_name="query")
@bp.output(DatabaseOut)
@bp.doc(summary="Find a database by name, project/name or id", operation_id="findDatabase")
def find(query: Named) -> Any:
    return _shown(fleet.find_database(access.actor(), query.name))


@bp.patch("/databases")
@bp.input(ManyChange, arg_name="body")
@bp.output(ManyChanged)
@bp.doc(summary="Change labels or the strategy of many", operation_id="changeDatabases")
def change_many(body: ManyChange) -> Any:
    selector = Selector.of(body.selector.model_dump(exclude_unset=True))
    changed = fleet.change_many(
        access.actor(), selector, labels=body.labels, strategy=body.strategy
    )
    return {"databases": changed}


@bp.get("/databases/<int:database_id>")
@bp.output(DatabaseOut)
@bp.doc(summary="Read a database", operation_id="readDatabase")
def read(database_id: int) -> Any:
    return _shown(fleet.get_database(access.actor(), database_id))


@bp.patch("/databases/<int:database_id>")
@bp.input(DatabaseChange, arg_name="body")
@bp.output(DatabaseOut)
@bp.doc(summary="Change a database", operation_id="changeDatabase")
def change(database_id: int, body: DatabaseChange) -> Any:
    version = conditions.expected(database_id, RecordChanged)
    values = body.model_dump(exclude_unset=True)
    return _shown(fleet.change_database(access.actor(), database_id, values, version=version))


@bp.delete("/databases/<int:database_id>")
@bp.output({}, status_code=204)
@bp.doc(
    summary="Retire a database: no member any more, and left alone", operation_id="retireDatabase"
)
def retire(database_id: int) -> Any:
    version = conditions.expected(database_id, RecordChanged)
    fleet.retire_database(access.actor(), database_id, version=version)
    return "", 204


@bp.post("/databases/<int:database_id>/pin")
@bp.input(Pin, arg_name="body")
@bp.output(DatabaseOut)
@bp.doc(summary="Pin a database: rollouts leave it alone", operation_id="pinDatabase")
def pin(database_id: int, body: Pin) -> Any:
    return _shown(fleet.pin_database(access.actor(), database_id, **body.model_dump()))


@bp.delete("/databases/<int:database_id>/pin")
@bp.output(DatabaseOut)
@bp.doc(summary="Unpin a database", operation_id="unpinDatabase")
def unpin(database_id: int) -> Any:
    return _shown(fleet.unpin_database(access.actor(), database_id))


@bp.post("/databases/<int:database_id>/drop")
@bp.input(Drop, arg_name="body")
@bp.output(DroppedOut)
@bp.doc(
    summary="Drop a database, or a tenant's schema, for good",
    operation_id="dropDatabase",
)
def drop(database_id: int, body: Drop) -> Any:
    done = fleet.drop_database(
        access.actor(), database_id, confirm=body.confirm, seconds=fleet.REQUEST_SECONDS
    )
    snapshot = str(done.snapshot) if done.snapshot else None
    return {"database": done.database, "snapshot": snapshot, "note": done.note}


@bp.get("/overview")
@bp.input(OverviewQuery, location="query", arg_name="query")
@bp.output(OverviewOut)
@bp.doc(summary="How many databases stand where", operation_id="readOverview")
def overview(query: OverviewQuery) -> Any:
    return glance.overview(access.actor(), **query.model_dump())


def _source(body: ImportIn) -> Any:
    names = ("files", "server", "schemas", "csv", "json_lines")
    given = [name for name in names if getattr(body, name) is not None]
    if len(given) != 1:
        raise InputInvalid("Give one of files, server, schemas, csv and json_lines.")
    if body.files:
        return import_sources.from_files(**body.files.model_dump(), most=MOST_ROWS)
    if body.server:
        return import_sources.from_server(**body.server.model_dump(), most=MOST_ROWS)
    if body.schemas:
        return import_sources.from_schemas(**body.schemas.model_dump(), most=MOST_ROWS)
    if body.csv is not None:
        return import_sources.from_csv(body.csv.splitlines(keepends=True))
    return import_sources.from_json_lines((body.json_lines or "").splitlines())


def _labels(text: str | None) -> dict[str, str]:
    """`tier=gold,region=eu` as a dictionary; {} for None."""
    pairs = (pair.partition("=") for pair in (text or "").split(",") if pair)
    return {name: value for name, _, value in pairs}


def _shown(database: Database) -> Any:
    return DatabaseOut.model_validate(database), 200, conditions.tag(database)


def _made(database: Database, replayed: bool, **more: str) -> Any:
    where = url_for("api.databases.read", database_id=database.id)
    headers = responses.made(where, replayed) | conditions.tag(database)
    return DatabaseOut.model_validate(database), 201, headers | more
