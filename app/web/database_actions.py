"""`/databases/<id>/<verb>`: what can be done to one; each says what will happen, then does it."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid, RecordChanged, RolloutRefused
from app.fleet import accounts, workers
from app.fleet import databases as fleet
from app.fleet.core.permissions import Actor
from app.fleet.core.validation import whole
from app.fleet.projects import revisions
from app.models import Database, Kind, Strategy
from app.web import access, filters
from headway.errors import HeadwayError
from headway.errors import Kind as Refusal

bp = APIBlueprint(
    "acting", __name__, enable_openapi=False, url_prefix="/databases/<int:database_id>"
)

MOST_TARGETS = 200
MOST_OWNERS = 200
PIN_DAYS = 7


@dataclass(frozen=True, kw_only=True)
class Action:
    """A button on the page of a database."""

    verb: str
    word: str
    says: str
    is_heavy: bool = False


RUNS = {
    Kind.UPGRADE: Action(
        verb="upgrade", word="Upgrade", says="Apply the revisions that it still lacks."
    ),
    Kind.DOWNGRADE: Action(
        verb="downgrade", word="Downgrade", says="Take revisions back; what they hold may be lost."
    ),
    Kind.STAMP: Action(
        verb="stamp",
        word="Stamp",
        says="Write down that it stands at a revision. Nothing else of it changes, and nobody "
        "checks that it is true.",
    ),
    Kind.CHECK: Action(
        verb="check",
        word="Check",
        says="Ask it where it stands, and compare its schema with what its revisions make. "
        "Nothing of it changes.",
    ),
    Kind.SNAPSHOT: Action(
        verb="snapshot",
        word="Snapshot",
        says="Copy its file, as it is now, beside it. The newest three copies are kept.",
    ),
    Kind.RESTORE: Action(
        verb="restore",
        word="Restore",
        says="Put a copy in its place. What it holds now stays beside it as .replaced; what was "
        "written since the copy is no longer in it.",
        is_heavy=True,
    ),
}
"""What a worker does."""
PIN = Action(verb="pin", word="Pin", says="Rollouts leave it alone until a day.")
UNPIN = Action(verb="unpin", word="Unpin", says="Rollouts take it along again.")
CHANGE = Action(verb="change", word="Change", says="Its name, labels, owner, notes, address.")
RETIRE = Action(
    verb="retire",
    word="Retire",
    says="Take it out of the fleet. The database itself is left alone, and its history stays.",
)
DROP = Action(
    verb="drop", word="Drop", says="Remove the real database, with all its rows.", is_heavy=True
)


def actions_for(actor: Actor, database: Database) -> list[Action]:
    """What this account can do to it."""
    found: list[Action] = []
    if database.retired_at is not None:
        return found
    if actor.may("rollouts.change"):
        is_file = database.dialect in (None, "sqlite")
        copies = (Kind.SNAPSHOT,) if is_file else ()
        found += [RUNS[kind] for kind in (*fleet.MOVES, Kind.CHECK, *copies)]
    if actor.may("databases.change"):
        is_pinned = database.pin_until is not None and database.pin_until > datetime.now(UTC)
        found += [UNPIN if is_pinned else PIN, CHANGE, RETIRE]
    if actor.may("databases.drop"):
        found.append(DROP)
    return found


@bp.route("/<any(upgrade,downgrade,stamp,check,snapshot,restore):verb>", methods=["GET", "POST"])
def run(database_id: int, verb: str) -> Any:
    """Something that a worker does to it."""
    actor = access.actor()
    actor.require("rollouts.change")
    database = fleet.get_database(actor, database_id)
    kind = Kind(verb)
    if request.method == "POST":
        if again := _look_again(database_id, verb):
            return again
        rollout = _begin(actor, database, kind)
        flash(f"{RUNS[kind].word} of {database.name}: begun.", "good")
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
        workers=workers.list_workers(actor, limit=1)[0],
    )


@bp.route("/pin", methods=["GET", "POST"])
def pin(database_id: int) -> Any:
    """Not for rollouts, until a day."""

    def do(actor: Actor) -> str:
        reason, until = request.form.get("reason", "").strip(), _day(filters.given("until"))
        fleet.pin_database(actor, database_id, reason=reason, until=until)
        return "Pinned: rollouts leave it alone."

    usual = (datetime.now(UTC) + timedelta(days=PIN_DAYS)).date().isoformat()
    return _asked(database_id, PIN, do, usual=usual)


@bp.route("/unpin", methods=["GET", "POST"])
def unpin(database_id: int) -> Any:
    """For rollouts again."""

    def do(actor: Actor) -> str:
        fleet.unpin_database(actor, database_id)
        return "Unpinned: rollouts take it along again."

    return _asked(database_id, UNPIN, do)


@bp.route("/change", methods=["GET", "POST"])
def change(database_id: int) -> Any:
    """What is kept of it; labels too."""

    def do(actor: Actor) -> str:
        version = whole(request.form.get("version", ""))
        database = fleet.get_database(actor, database_id)
        fleet.change_database(actor, database_id, _values(database), version=version)
        return "Changed."

    owners, _ = accounts.list_accounts(access.actor(), limit=MOST_OWNERS)
    return _asked(database_id, CHANGE, do, owners=owners, strategies=list(Strategy))


@bp.route("/retire", methods=["GET", "POST"])
def retire(database_id: int) -> Any:
    """No member any more."""

    def do(actor: Actor) -> str:
        version = whole(request.form.get("version", ""))
        gone = fleet.retire_database(actor, database_id, version=version)
        return f"Retired. {gone.address} is as it was."

    return _asked(database_id, RETIRE, do)


@bp.route("/drop", methods=["GET", "POST"])
def drop(database_id: int) -> Any:
    """Gone for good; asked twice, the second time by its name."""

    def do(actor: Actor) -> str:
        confirm = request.form.get("confirm", "")
        return f"Dropped. {fleet.drop_database(actor, database_id, confirm=confirm).note}"

    return _asked(database_id, DROP, do, right="databases.drop")


def _asked(
    database_id: int, action: Action, do: Any, *, right: str = "databases.change", **more: Any
) -> Any:
    """The page that says what will happen; sent back, it is done, or told why not."""
    actor = access.actor()
    actor.require(right)
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
        database=fleet.get_database(actor, database_id),
        action=action,
        refused=refused,
        given=filters.retyped(),
        **more,
    )
    if refused is None:
        return page
    return page, 422 if refused.kind is Refusal.INVALID else 409


def _look_again(database_id: int, verb: str) -> Any:
    """The page of what was typed, where that is not what it has shown; None where it is."""
    target = filters.given("target") or ""
    asked = bool(request.form.get("look"))
    if not asked and target == request.form.get("shown", target):
        return None
    if not asked:
        flash("You changed the target: this is what it would do now.", "warn")
    return redirect(
        url_for("web.acting.run", database_id=database_id, verb=verb, target=target or None)
    )


def _begin(actor: Actor, database: Database, kind: Kind) -> Any:
    if database.retired_at:
        raise RolloutRefused(fleet.RETIRED)
    if request.form.get("current", database.current) != database.current:
        raise RecordChanged(
            f"{database.name} is at {database.current or 'no revision'} now: it has moved since "
            "this page was shown. Nothing was done; look again."
        )
    target = filters.given("planned") or filters.given("target") or ""
    snapshot = True if request.form.get("snapshot") else None
    return fleet.run_one(actor, database.id, kind, target, snapshot=snapshot)


def _targets(actor: Actor, database: Database, kind: Kind) -> list[str]:
    """What it may be brought to, what is usual first."""
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
    """What the form says, but for a place that is to stay."""
    labels = filters.labels_in(request.form.get("labels", ""))
    gone = {label.name for label in database.labels} - labels.keys()
    place = {name: filters.given(name) for name in ("url", "reference")}
    return {
        "name": filters.given("name"),
        "notes": filters.given("notes"),
        "strategy": filters.given("strategy") or database.strategy,
        "owner_id": whole(request.form.get("owner", "")),
        "labels": {**labels, **dict.fromkeys(gone)},
        **(place if any(place.values()) else {}),
    }


def _day(said: str | None) -> datetime:
    try:
        day = datetime.combine(date.fromisoformat(said or ""), time(), UTC)
    except ValueError:
        raise InputInvalid("Until which day? Write it as 2030-01-31.", field="until") from None
    if day <= datetime.now(UTC):
        raise InputInvalid("Choose a day after today.", field="until")
    return day
