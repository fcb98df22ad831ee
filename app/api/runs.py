"""`/api/v1/runs`, and runs on one database that start at once."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import Response, stream_with_context

from app.api import access, responses
from app.api.schemas.common import Idempotent
from app.api.schemas.rollouts import Nothing, RolloutOut
from app.api.schemas.runs import (
    ExportQuery,
    OpenedOut,
    PlanOut,
    PlanQuery,
    RunDetail,
    RunIn,
    RunOut,
    RunPage,
    RunQuery,
    run_values,
)
from app.fleet import databases
from app.fleet import runs as fleet
from app.fleet.core import places
from app.fleet.runs import export
from app.http import event_stream
from app.models import Kind

bp = APIBlueprint("runs", __name__, tag="runs")


@bp.get("/runs")
@bp.input(RunQuery, location="query", arg_name="query")
@bp.output(RunPage)
@bp.doc(summary="List runs in the order they were made", operation_id="listRuns")
def list_(query: RunQuery) -> Any:
    asked = query.model_dump(exclude={"state"})
    states = (query.state,) if query.state else ()
    found, following = fleet.list_runs(access.actor(), **asked, states=states)
    names = fleet.names_of(found)
    items = [RunOut.model_validate(run_values(run, names)) for run in found]
    return RunPage(items=items, next=following), 200, responses.next_link(following)


@bp.get("/runs/<int:run_id>")
@bp.output(RunDetail)
@bp.doc(summary="Read a run, with its log and SQL", operation_id="readRun")
def read(run_id: int) -> Any:
    run = fleet.get_run(access.actor(), run_id)
    shown = run_values(run, fleet.names_of([run]))
    return RunDetail.model_validate(shown | {"log": run.log, "sql": fleet.sql_of(run)})


# --- export --------------------------------------------------------------------------------------


def _of_type(mimetype: str, words: str) -> dict[int | str, Any]:
    return {200: {"description": words, "content": {mimetype: {"schema": {"type": "string"}}}}}


JSONL, CSV = "application/jsonl", "text/csv"


@bp.get("/runs.jsonl")
@bp.input(ExportQuery, location="query", arg_name="query")
@bp.doc(
    summary="Export runs with log and SQL, a line of JSON each",
    operation_id="exportRunsAsJsonLines",
    responses=_of_type(JSONL, "Every run, oldest first."),
)
def json_lines(query: ExportQuery) -> Any:
    return _export(query, export.as_json_lines, JSONL)


@bp.get("/runs.csv")
@bp.input(ExportQuery, location="query", arg_name="query")
@bp.doc(
    summary="Export runs for a spreadsheet",
    operation_id="exportRunsAsCsv",
    responses=_of_type(CSV, "Every run, oldest first, below a line of names."),
)
def csv(query: ExportQuery) -> Any:
    return _export(query, export.as_csv, CSV)


def _export(
    query: ExportQuery,
    form: Callable[[Iterable[export.RunRow]], Iterator[str]],
    mimetype: str,
) -> Response:
    rows = export.rows(access.actor(), **query.model_dump())
    place = places.EXPORTING.take(access.actor().id)
    return event_stream.streamed(stream_with_context(form(rows)), place, mimetype)


# --- one database --------------------------------------------------------------------------------


@bp.get("/databases/<int:database_id>/plan")
@bp.input(PlanQuery, location="query", arg_name="query")
@bp.output(PlanOut)
@bp.doc(summary="What an operation on one database would do", operation_id="planRun")
def plan(database_id: int, query: PlanQuery) -> Any:
    actor = access.actor()
    database = databases.get_database(actor, database_id)
    return PlanOut.of(databases.plan_of(actor, database, Kind(query.kind), query.target or ""))


@bp.post("/databases/<int:database_id>/runs")
@bp.input(RunIn, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(RolloutOut, status_code=202)
@bp.doc(summary="Start a run on one database", operation_id="startRun")
def start(database_id: int, body: RunIn, idempotent: Idempotent) -> Any:
    asked = body.model_dump()
    kind, target = asked.pop("kind"), asked.pop("target") or ""
    rollout = databases.run_one(
        *(access.actor(), database_id, kind, target), key=idempotent.idempotency_key, **asked
    )
    return RolloutOut.of(rollout), 202, responses.under_way(rollout.id)


@bp.post("/databases/<int:database_id>/open")
@bp.input(Nothing, arg_name="body")
@bp.output(OpenedOut)
@bp.doc(
    summary="Open a database: may it be used, or what to wait for",
    operation_id="openDatabase",
)
def open_(database_id: int, body: Nothing) -> Any:  # noqa: ARG001
    opened = databases.open_database(access.actor(), database_id)
    headers = responses.under_way(opened.rollout.id) if opened.rollout else {}
    return OpenedOut.of(opened), 202 if opened.rollout else 200, headers
