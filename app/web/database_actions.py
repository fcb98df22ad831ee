"""`/databases/<id>/<verb>`: actions on a database. GET shows the effect, POST does it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid, RecordChanged, RolloutRefused
from app.fleet import accounts, workers
from app.fleet import databases as fleet
from app.fleet.core.permissions import Actor
from app.fleet.core.validation import parse_whole
from app.fleet.projects import revisions
from app.fleet.rollouts import approvals
from app.http.statuses import status_and_headers
from app.models import Account, Database, Kind, Strategy
from app.web import access, filters
from headway.errors import HeadwayError

bp = APIBlueprint(
    "acting", __name__, enable_openapi=False, url_prefix="/databases/<int:database_id>"
)

MOST_TARGETS = 200
MOST_OWNERS = 200
PIN_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class DatabaseAction:
    """An action on a database: its label and its effect."""

    verb: str
    word: str
    says: str
    is_heavy: bool = False


RUNS = {
    Kind.UPGRADE: DatabaseAction(
        verb="upgrade", word="Upgrade", says="Apply the pending revisions."
    ),
    Kind.DOWNGRADE: DatabaseAction(
        verb="downgrade",
        word="Downgrade",
        says="Undo revisions. The data in the tables and columns that they added is lost.",
    ),
    Kind.STAMP: DatabaseAction(
        verb="stamp",
        word="Stamp",
        says="Record that the database is at a revision. Nothing else in it changes, and the "
        "record is not checked.",
    ),
    Kind.CHECK: DatabaseAction(
        verb="check",
        word="Check",
        says="Read its status, and compare its schema with the schema that its revisions make. "
        "Nothing in it changes.",
    ),
    Kind.SNAPSHOT: DatabaseAction(
        verb="snapshot",
        word="Snapshot",
        says="Copy its file to the same folder. The newest three copies are kept.",
    ),
    Kind.RESTORE: DatabaseAction(
        verb="restore",
        word="Restore",
        says="Replace its file by a copy. The current file is kept as .replaced; data written "
        "since the copy is no longer in the database.",
        is_heavy=True,
    ),
}
"""Actions that are runs, which a worker does."""
PIN = DatabaseAction(
    verb="pin", word="Pin", says="Exclude it from rollouts until a day that you choose."
)
UNPIN = DatabaseAction(verb="unpin", word="Unpin", says="Include it in rollouts again.")
CHANGE = DatabaseAction(
    verb="change", word="Change", says="Change its name, labels, owner, notes or address."
)
RETIRE = DatabaseAction(
    verb="retire",
    word="Retire",
    says="Remove it from the fleet. The database itself and its history stay.",
)
DROP = DatabaseAction(
    verb="drop",
    word="Drop",
    says="Delete the real database with all its data; if its address names a schema, only that "
    "schema.",
    is_heavy=True,
)


def actions_for(actor: Actor, database: Database) -> list[DatabaseAction]:
    """The actions that an account may do on a database now."""
    found: list[DatabaseAction] = []
    if database.retired_at is not None:
        return found
    project_id = database.project_id
    if actor.may("rollouts.change", project_id):
        is_file = database.dialect in (None, "sqlite")
        copies = (Kind.SNAPSHOT,) if is_file else ()
        moves = fleet.MOVES if database.rollout_id is None else ()  # that rollout moves it
        found += [RUNS[kind] for kind in (*moves, Kind.CHECK, *copies)]
    may_drop = actor.may("databases.drop", project_id)
    if actor.may("databases.change", project_id):
        is_pinned = database.pin_until is not None and database.pin_until > datetime.now(UTC)
        found += [UNPIN if is_pinned else PIN, CHANGE]
        found += [RETIRE] if may_drop or not database.project.requires_approval else []
    if may_drop:
        found.append(DROP)
    return found


@bp.route("/<any(upgrade,downgrade,stamp,check,snapshot,restore):verb>", methods=["GET", "POST"])
def run(database_id: int, verb: str) -> Any:
    """Start a run on a database, which a worker does."""
    actor = access.actor()
    actor.require("rollouts.change")
    database = fleet.get_database(actor, database_id)
    actor.require("rollouts.change", database.project_id)
    kind = Kind(verb)
    if request.method == "POST":
        if again := _look_again(database_id, verb):
            return again
        rollout = _begin(actor, database, kind)
        is_held = approvals.is_before_begin(rollout)
        started = f"{RUNS[kind].word} of {database.name} started."
        flash(rollout.reason or "" if is_held else started, "good")
        return redirect(url_for("web.rollouts.show", rollout_id=rollout.id))
    targets = _targets(actor, database, kind)
    target = request.args.get("target", "").strip() or next(iter(targets), "")
    return render_template(
        "database_act.html",
        database=database,
        action=RUNS[kind],
        moves=kind in fleet.MOVES,
        target=target,
        targets=targets,
        plan=fleet.plan_of(actor, database, kind, target),
        workers=workers.count_alive(),
    )


@bp.route("/pin", methods=["GET", "POST"])
def pin(database_id: int) -> Any:
    """Pin a database until a day."""

    def do(actor: Actor) -> str:
        reason, until = request.form.get("reason", "").strip(), _day(filters.form_value("until"))
        fleet.pin_database(actor, database_id, reason=reason, until=until)
        return "Pinned: rollouts leave it out."

    usual = (datetime.now(UTC) + timedelta(days=PIN_DAYS)).date().isoformat()
    return _confirmed_action(database_id, PIN, do, usual=usual)


@bp.route("/unpin", methods=["GET", "POST"])
def unpin(database_id: int) -> Any:
    """Unpin a database."""

    def do(actor: Actor) -> str:
        fleet.unpin_database(actor, database_id)
        return "Unpinned: rollouts include it again."

    return _confirmed_action(database_id, UNPIN, do)


@bp.route("/change", methods=["GET", "POST"])
def change(database_id: int) -> Any:
    """Change the registered fields and labels of a database."""

    def do(actor: Actor) -> str:
        version = parse_whole(request.form.get("version", ""))
        database = fleet.get_database(actor, database_id)
        fleet.change_database(actor, database_id, _values(database), version=version)
        return "Changed."

    actor, owners = access.actor(), list[Account]()
    if actor.may("accounts.read"):
        owners, _ = accounts.list_accounts(actor, limit=MOST_OWNERS)
    return _confirmed_action(database_id, CHANGE, do, owners=owners, strategies=list(Strategy))


@bp.route("/retire", methods=["GET", "POST"])
def retire(database_id: int) -> Any:
    """Retire a database."""

    def do(actor: Actor) -> str:
        version = parse_whole(request.form.get("version", ""))
        gone = fleet.retire_database(actor, database_id, version=version)
        return f"Retired. {gone.address} was not changed."

    return _confirmed_action(database_id, RETIRE, do)


@bp.route("/drop", methods=["GET", "POST"])
def drop(database_id: int) -> Any:
    """Drop a database, after two confirmations, the second by its name."""

    def do(_: Actor) -> str:
        access.prove()
        actor = access.actor()
        confirm = request.form.get("confirm", "")
        done = fleet.drop_database(
            actor, database_id, confirm=confirm, seconds=fleet.REQUEST_SECONDS
        )
        return f"Dropped. {done.note}"

    more = {"schema_of": fleet.schema_of}
    return _confirmed_action(database_id, DROP, do, right="databases.drop", **more)


def _confirmed_action(
    database_id: int,
    action: DatabaseAction,
    do: Any,
    *,
    right: str = "databases.change",
    **more: Any,
) -> Any:
    """Show the form of an action (GET), or do it and show the result (POST)."""
    actor = access.actor()
    actor.require(right)
    database = fleet.get_database(actor, database_id)
    actor.require(right, database.project_id)
    refused = None
    if request.method == "POST":
        try:
            flash(do(actor), "good")
        except HeadwayError as error:
            refused = error
        else:
            return redirect(url_for("web.databases.show", database_id=database_id))
    page = render_template(
        f"database_{action.verb}.html",
        database=database if refused is None else fleet.get_database(actor, database_id),
        action=action,
        refused=refused,
        given=filters.retyped(),
        **more,
    )
    if refused is None:
        return page
    return page, *status_and_headers(refused)


def _look_again(database_id: int, verb: str) -> Any:
    """A redirect to the plan of the new target, if the target was changed; else None."""
    target = filters.form_value("target") or ""
    asked = bool(request.form.get("look"))
    if not asked and target == request.form.get("shown", target):
        return None
    if not asked:
        flash("You changed the target. This is the new plan.", "warn")
    return redirect(
        url_for("web.acting.run", database_id=database_id, verb=verb, target=target or None)
    )


def _begin(actor: Actor, database: Database, kind: Kind) -> Any:
    if database.retired_at:
        raise RolloutRefused(fleet.RETIRED)
    if request.form.get("current", database.current) != database.current:
        raise RecordChanged(
            f"{database.name} is at {database.current or 'no revision'} now: it has changed since "
            "this page was shown. Nothing was done. Reload the page."
        )
    target = filters.form_value("planned") or filters.form_value("target") or ""
    snapshot = True if request.form.get("snapshot") else None
    return fleet.run_one(actor, database.id, kind, target, snapshot=snapshot)


def _targets(actor: Actor, database: Database, kind: Kind) -> list[str]:
    """Suggested targets, the most usual first."""
    if kind is Kind.UPGRADE:
        steps = fleet.plan_of(actor, database, kind).steps
        return ["heads", *(step.revision.revision for step in reversed(steps[:-1]))]
    if kind is Kind.DOWNGRADE:
        return fleet.below(actor, database)[:MOST_TARGETS]
    if kind is Kind.STAMP:
        known, _ = revisions.list_revisions(
            actor, database.project_id, limit=MOST_TARGETS, present=True
        )
        return ["heads", *(one.revision for one in reversed(known)), "base"]
    if kind is Kind.RESTORE:
        return [copy.name for copy in fleet.list_snapshots(actor, database.id)]
    return []


def _values(database: Database) -> dict[str, Any]:
    """The values of the form; without a new URL the present one stays."""
    labels = filters.labels_in(request.form.get("labels", ""))
    gone = {label.name for label in database.labels} - labels.keys()
    x = filters.arguments_in(request.form.get("x", ""))
    place = {name: filters.form_value(name) for name in ("url", "reference")}
    return {
        "name": filters.form_value("name"),
        "notes": filters.form_value("notes"),
        "strategy": filters.form_value("strategy") or database.strategy,
        "owner_id": parse_whole(request.form.get("owner", "")),
        "labels": {**labels, **dict.fromkeys(gone)},
        "x": {**x, **dict.fromkeys((database.x or {}).keys() - x.keys())},
        **(place if any(place.values()) else {}),
    }


def _day(text: str | None) -> datetime:
    try:
        day = datetime.combine(date.fromisoformat(text or ""), time(), UTC)
    except ValueError:
        raise InputInvalid(
            "Give the day until which it is pinned, as 2030-01-31.", field="until"
        ) from None
    if day <= datetime.now(UTC):
        raise InputInvalid("Choose a day after today.", field="until")
    return day
