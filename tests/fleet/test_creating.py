"""A database is created by a run: what others may do meanwhile, and what becomes of its failures."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from app.errors import DatabaseRegistered, NameTaken, ProjectNotReady, RolloutRefused
from app.extensions import db
from app.fleet import databases, projects, rollouts, runs, webhooks
from app.fleet.core import audit
from app.fleet.core.transactions import writing
from app.fleet.projects import scripts
from app.fleet.refresh import refresh
from app.fleet.rollouts.actions import allowed_actions
from app.fleet.runs import claims, execute, results
from app.fleet.workers import periodic
from app.models import Database, Delivery, Run, State
from headway import Project as Scripts
from headway.dialects import dialect_of
from headway.errors import DatabaseExists, DatabaseUnreachable, HeadwayError, StillNeeded
from tests.fleet.fleets import (
    ME,
    ROOT,
    Fleet,
    created,
    fresh,
    lose_worker,
    write_revision,
)
from tests.fleet.sites import kill, site_on, those_below


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def place(
    request: pytest.FixtureRequest, fleet: Fleet, fresh_url: Callable[[str], URL]
) -> Iterator[URL]:
    """Where there is no database yet, on each kind of server; gone afterwards."""
    if request.param == "sqlite":
        yield URL.create("sqlite", database=str(fleet.folder / "new.db"))
        return
    url = fresh_url(request.param)
    dialect_of(url).drop(url)
    yield url
    dialect_of(url).drop(url)


def asked(fleet: Fleet, url: URL | None = None, **values: Any) -> databases.Creation:
    text = url.render_as_string(hide_password=False) if url else f"{fleet.folder}/new.db"
    what = {"project_id": fleet.project_id, "name": "new", "url": text, **values}
    return databases.create_database(ROOT, what)


def hook() -> None:
    values = {"name": "w", "url": "http://127.0.0.1:1/x"}
    webhooks.create_webhook(ROOT, values)


def the_run(creation: databases.Creation) -> Run:
    """The last attempt."""
    fresh()
    found, _ = runs.list_runs(ROOT, limit=9, rollout_id=creation.rollout_id)
    return found[-1]


def member(creation: databases.Creation) -> Database:
    fresh()
    return databases.get_database(ROOT, creation.database_id)


def stage(creation: databases.Creation) -> str:
    fresh()
    return rollouts.get_rollout(ROOT, creation.rollout_id).stage


def begun(creation: databases.Creation, *, by: str = ME) -> Run:
    """Its run as of a worker that was about to make the database, and is gone since."""
    run = the_run(creation)
    with writing() as session:
        values = {"state": State.RUNNING, "worker": by, "before": "", "aim": "r003"}
        session.execute(sa.update(Run).where(Run.id == run.id).values(**values))
    return run


def real(fleet: Fleet, url: URL) -> Any:
    return Scripts.load(fleet.scripts).at(url).status()


# --- before it is there ------------------------------------------------------------------------


def test_from_the_first_moment_it_is_a_member_that_is_not_there(fleet: Fleet) -> None:
    fleet.add("other", labels={"tier": "gold"})
    creation = asked(fleet, labels={"tier": "gold"}, notes="n")
    made = member(creation)
    assert (made.position, made.rollout_id, made.pin_until) == ("", creation.rollout_id, None)
    assert fleet.counts() == {("behind", "r001"): 1, ("unknown", ""): 1}
    assert refresh.never_probed() == {}
    refresh.refresh(fleet.project_id)
    refresh.refresh(fleet.project_id, [made.id])
    assert (member(creation).position, member(creation).asked_at) == ("", None)
    with pytest.raises(DatabaseRegistered):
        asked(fleet, name="else")
    with pytest.raises(NameTaken):
        fleet.register("new", f"{fleet.folder}/else.db")
    for act in (
        lambda: databases.drop_database(ROOT, made.id, confirm="new"),
        lambda: databases.retire_database(ROOT, made.id),
        lambda: databases.change_database(ROOT, made.id, {"url": "mysql://h/x"}, version=None),
    ):
        with pytest.raises(StillNeeded, match=f"rollout {creation.rollout_id}"):
            act()
    for kind in ("upgrade", "check"):
        with pytest.raises(RolloutRefused, match=f"part of rollout {creation.rollout_id}"):
            databases.run_one(ROOT, made.id, kind)
    rollout = fleet.start(selector={"labels": {"tier": "gold"}})
    assert made.id not in [run.database_id for run in fleet.runs_of(rollout)]


def test_labels_a_name_and_a_pin_do_not_disturb_it(fleet: Fleet) -> None:
    creation = asked(fleet)
    until = datetime.now(UTC) + timedelta(days=1)
    databases.change_database(
        ROOT, creation.database_id, {"name": "acme", "labels": {"a": "b"}}, version=None
    )
    databases.pin_database(ROOT, creation.database_id, reason="audit", until=until)
    fleet.drain()
    made = created(creation)
    assert (made.name, made.position, made.pin_reason) == ("acme", "at_head", "audit")
    assert [(label.name, label.value) for label in made.labels] == [("a", "b")]
    assert made.rollout_id is None


def test_who_asked_for_it_and_how_it_went_is_kept(fleet: Fleet) -> None:
    hook()
    creation = asked(fleet)
    fleet.drain()
    run = the_run(creation)
    assert (run.kind, run.state, run.before, run.aim, run.after) == (
        *("create", "succeeded", "", "r003", "r003"),
    )
    assert run.applied == ["r001", "r002", "r003"]
    assert "1 of 3: r001" in (runs.get_run(ROOT, run.id).log or "")
    events, _ = audit.list_events(ROOT, limit=9)
    assert [event.action for event in events][:2] == ["database.created", "rollout.started"]
    assert events[0].subject_id == creation.database_id
    assert events[0].actor_name == "test"
    told = db.session.scalars(sa.select(Delivery.event)).all()
    assert list(told) == ["rollout.finished"]


def test_a_reference_that_only_workers_can_follow_is_enough(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"project_id": fleet.project_id, "name": "new", "reference": "env:NEW_URL"}
    creation = databases.create_database(ROOT, values)
    monkeypatch.setenv("NEW_URL", f"sqlite:///{fleet.folder}/new.db")
    fleet.drain()
    assert created(creation).position == "at_head"
    assert real(fleet, sa.make_url(f"sqlite:///{fleet.folder}/new.db")).current == ("r003",)


def test_a_project_that_waits_to_be_read_is_waited_for_and_a_broken_one_refused(
    fleet: Fleet,
) -> None:
    values = {"name": "later", "location": str(fleet.scripts)}
    later = projects.create_project(ROOT, values)[0].id
    creation = asked(fleet, project_id=later)
    fleet.drain()
    assert (the_run(creation).state, the_run(creation).attempt) == ("pending", 2)
    scripts.load(later)
    due(creation)
    fleet.drain()
    assert created(creation).position == "at_head"
    fleet.scripts.rename(fleet.scripts.with_name("moved"))
    scripts.load(later)
    with pytest.raises(ProjectNotReady):
        asked(
            fleet, sa.make_url(f"sqlite:///{fleet.folder}/other.db"), project_id=later, name="other"
        )


def due(creation: databases.Creation) -> None:
    """Its next attempt is due now."""
    with writing() as session:
        now = datetime.now(UTC)
        rows = sa.update(Run).where(Run.rollout_id == creation.rollout_id)
        session.execute(rows.values(retry_at=now))


# --- a person in between -----------------------------------------------------------------------


def test_it_can_be_cancelled_before_it_begins_and_leaves_its_name_free(fleet: Fleet) -> None:
    creation = asked(fleet)
    rollout = rollouts.get_rollout(ROOT, creation.rollout_id)
    assert "cancel" in allowed_actions(ROOT, rollout)
    rollouts.cancel_rollout(ROOT, creation.rollout_id)
    assert member(creation).retired_at
    assert (fleet.counts(), fleet.work()) == ({}, 0)
    with pytest.raises(RolloutRefused, match="Cancelled by test"):
        created(creation)
    again = asked(fleet)
    fleet.drain()
    assert created(again).name == "new"


def test_what_has_begun_is_not_broken_off(fleet: Fleet) -> None:
    creation = asked(fleet)
    claims.claim(ME, 1)
    rollout = rollouts.get_rollout(ROOT, creation.rollout_id)
    assert "cancel" not in allowed_actions(ROOT, rollout)
    with pytest.raises(RolloutRefused, match="being created"):
        rollouts.cancel_rollout(ROOT, creation.rollout_id)
    execute.execute(the_run(creation).id, ME)
    assert created(creation).position == "at_head"
    with pytest.raises(RolloutRefused, match="Drop the database"):
        rollouts.undo_rollout(ROOT, creation.rollout_id)


def test_it_can_be_paused_and_goes_on(fleet: Fleet) -> None:
    creation = asked(fleet)
    rollouts.pause_rollout(ROOT, creation.rollout_id)
    fleet.drain()
    assert the_run(creation).state == "pending"
    assert databases.created(ROOT, creation) is None
    rollouts.resume_rollout(ROOT, creation.rollout_id)
    fleet.drain()
    assert created(creation).position == "at_head"


# --- it fails ----------------------------------------------------------------------------------


def test_a_failure_takes_the_name_of_nobody_and_is_kept(fleet: Fleet) -> None:
    hook()
    creation = asked(fleet, labels={"a": "b"})
    (fleet.folder / "new.db").write_text("somebody's")
    fleet.drain()
    with pytest.raises(DatabaseExists, match="already exists"):
        created(creation)
    assert (fleet.folder / "new.db").read_text() == "somebody's"
    run = the_run(creation)
    assert (run.state, run.problem, run.before) == ("failed", "database-exists", None)
    assert stage(creation) == "cancelled"
    reason = rollouts.get_rollout(ROOT, creation.rollout_id).reason or ""
    assert "was not created" in reason
    assert "already exists" in reason
    assert allowed_actions(ROOT, rollouts.get_rollout(ROOT, creation.rollout_id)) == ()
    assert member(creation).retired_at
    assert fleet.counts() == {}
    assert list(db.session.scalars(sa.select(Delivery.event))) == ["rollout.cancelled"]
    (fleet.folder / "new.db").unlink()
    fleet.drain()
    assert not (fleet.folder / "new.db").exists(), "it is not tried again by itself"
    again = asked(fleet)
    fleet.drain()
    assert created(again).position == "at_head"


def test_a_server_that_is_away_is_tried_again_and_then_given_up(fleet: Fleet) -> None:
    creation = asked(fleet, sa.make_url("postgresql://u:s3cr3t@127.0.0.1:1/new"))
    for attempt in range(2, 7):
        fleet.drain()
        run = the_run(creation)
        assert (run.state, run.attempt) == ("pending", attempt), run.error
        assert member(creation).retired_at is None
        due(creation)
    fleet.drain()
    with pytest.raises(DatabaseUnreachable) as told:
        created(creation)
    assert "s3cr3t" not in str(told.value)
    assert member(creation).retired_at


# --- its worker is lost ------------------------------------------------------------------------


def lost(fleet: Fleet) -> None:
    """The worker is gone; another looks at what it had, and goes on."""
    lose_worker()
    periodic.advance_rollouts()


def test_one_whose_worker_ended_before_it_was_there_is_made_by_another(
    fleet: Fleet, place: URL
) -> None:
    creation = asked(fleet, place)
    begun(creation)
    lost(fleet)
    assert (the_run(creation).state, the_run(creation).attempt) == ("pending", 2)
    fleet.drain()
    assert created(creation).current == "r003"


def test_one_that_was_made_and_not_told_is_done(
    fleet: Fleet, place: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    creation = asked(fleet, place)
    claims.claim(ME, 1)

    def killed(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(results, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            execute.execute(the_run(creation).id, ME)
    assert real(fleet, place).current == ("r003",)
    lost(fleet)
    assert (created(creation).position, created(creation).rollout_id) == ("at_head", None)
    (event, *_), _ = audit.list_events(ROOT, limit=1)
    assert event.action == "database.created"
    assert fleet.counts() == {("at_head", "r003"): 1}


def test_one_that_is_there_and_empty_is_brought_to_its_end(fleet: Fleet, place: URL) -> None:
    creation = asked(fleet, place)
    begun(creation)
    dialect_of(place).make(place)
    if place.get_backend_name() == "sqlite":
        Path(f"{place.database}-journal").write_bytes(bytes(512))
    lost(fleet)
    assert the_run(creation).state == "pending"
    fleet.drain()
    assert created(creation).current == "r003"


def test_one_that_is_half_there_is_shown_to_a_person(fleet: Fleet, place: URL) -> None:
    creation = asked(fleet, place)
    begun(creation)
    Scripts.load(fleet.scripts).at(place).create("r001")
    engine = sa.create_engine(place, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE alembic_version"))
    lost(fleet)
    fleet.drain()
    with pytest.raises(HeadwayError):
        created(creation)
    left = member(creation)
    assert (left.position, left.retired_at, left.rollout_id) == ("unstamped", None, None)
    assert real(fleet, place).position == "unstamped"
    databases.drop_database(ROOT, left.id, confirm="new")
    assert not dialect_of(place).exists(place)


def test_one_that_somebody_else_made_meanwhile_is_left_alone(fleet: Fleet, place: URL) -> None:
    creation = asked(fleet, place)
    run = the_run(creation)
    claims.claim(ME, 1)  # and there its worker ended: it has not begun
    Scripts.load(fleet.scripts).at(place).create("r001")
    lost(fleet)
    fleet.drain()
    with pytest.raises(DatabaseExists):
        created(creation)
    assert the_run(creation).id == run.id
    assert real(fleet, place).current == ("r001",)


def test_a_worker_that_stood_still_makes_nothing_after_another_has(fleet: Fleet) -> None:
    creation = asked(fleet)
    (run_id,) = claims.claim(ME, 1)
    (task,) = execute.Task.read([run_id], ME)
    lost(fleet)
    fleet.drain()
    (fleet.folder / "new.db").unlink()
    with pytest.raises(HeadwayError, match="reported lost"):
        execute.operations.operate(task)
    assert not (fleet.folder / "new.db").exists()
    assert created(creation)


def test_a_worker_that_is_killed_in_the_middle_is_followed_by_another(
    template_copy: URL, tmp_path: Path, killed_at: URL
) -> None:
    with site_on(template_copy, tmp_path) as site:
        note = tmp_path / "note"
        waits = [
            "import pathlib, time",
            f"note = pathlib.Path({str(note)!r})",
            "first = not op.get_context().as_sql and not note.exists()",
            "first = first and 'template' not in str(op.get_bind().engine.url)",
            "first and (note.write_text('x'), time.sleep(600))",
        ]
        write_revision(site.fleet.scripts, "r009", "r003", waits)
        site.fleet.load()
        creation = asked(site.fleet, killed_at)
        process = site.supervise(1)
        site.until(note.exists, patience=240)
        for one in those_below(process.pid, "app.processes.worker"):
            kill(one.pid)
        site.until(lambda: stage(creation) in ("succeeded", "cancelled"), patience=240)
        left = member(creation)
        if killed_at.get_backend_name() == "mysql":  # which commits each revision
            assert (left.position, left.retired_at) == ("torn", None)
            with pytest.raises(HeadwayError, match="in the middle of revision r009"):
                created(creation)
        else:
            assert (created(creation).current, the_run(creation).attempt) == ("r009", 2)
            assert real(site.fleet, killed_at).current == ("r009",)


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def killed_at(request: pytest.FixtureRequest, tmp_path: Path, fresh_url: Any) -> Iterator[URL]:
    if request.param == "sqlite":
        yield URL.create("sqlite", database=str(tmp_path / "members" / "new.db"))
        return
    url = fresh_url(request.param)
    dialect_of(url).drop(url)
    yield url
    dialect_of(url).drop(url)


def test_a_process_that_ends_in_the_middle_leaves_nothing(fleet: Fleet, place: URL) -> None:
    note = fleet.folder / "times"
    ends = [
        "import os, pathlib, time",
        f"note = pathlib.Path({str(note)!r})",
        "live = not op.get_context().as_sql",
        "op.execute(f'CREATE TABLE later{time.time_ns() if live else 0} (x INTEGER)')",
        "draft = 'template' in str(op.get_bind().engine.url if live else '')",
        "live and not draft and note.open('a').write('x') and os._exit(3)",
    ]
    last = write_revision(fleet.scripts, "r004", "r003", ends)
    fleet.load()
    creation = asked(fleet, place)
    fleet.drain()
    with pytest.raises(HeadwayError, match="ended before its work was done"):
        created(creation)
    assert len(note.read_text()) == 5
    assert not dialect_of(place).exists(place)
    assert member(creation).retired_at
    Path(last).unlink()
    fleet.load()
    again = asked(fleet, place)
    fleet.drain()
    assert created(again).current == "r003"
