"""`/metrics`: the fleet as the catalog has it, scraped and read as a monitoring system would."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.fleet import webhooks
from app.fleet.core.transactions import writing
from app.fleet.reports import run_counts
from app.models import (
    UNENDED,
    Database,
    PositionCount,
    Project,
    Revision,
    Rollout,
    Run,
    Stage,
    State,
    Worker,
)
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT
from tests.live import serve

NOW = datetime.now(UTC)


@pytest.fixture
def app(migrated_url: URL) -> Iterator[Flask]:
    app = create_app(settings_for(migrated_url))
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


Sample = tuple[str, tuple[tuple[str, str], ...]]


def scrape(app: Flask) -> dict[Sample, float]:
    """The samples of one real request that are the fleet's."""
    import urllib.request

    db.session.remove()
    with serve(app) as url, urllib.request.urlopen(f"{url}/metrics") as answer:
        text = answer.read().decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.startswith(("python", "process"))
    }


def value(samples: dict[Sample, float], name: str, **labels: str) -> float:
    return samples[f"headway_{name}", tuple(sorted(labels.items()))]


def add(*rows: Any) -> None:
    with writing() as session:
        for row in rows:
            session.add(row)
            session.flush()


def project(**more: Any) -> Project:
    return Project(name="crm", location="/projects/crm", **more)


def rollout(**more: Any) -> Rollout:
    values: dict[str, Any] = {"kind": "upgrade", "target": "heads", "by_name": "test"}
    values |= {"selector": {}, "waves": [], "sizes": [], "gate": {}, "snapshot": False}
    limits = {"concurrency": 1, "per_server": 1, "timeout_seconds": 1.0, "retreat": False}
    return Rollout(project_id=1, **values | limits | more)


def database(**more: Any) -> Database:
    return Database(project_id=1, **{"name": "a", "address": "sqlite:////a"} | more)


def run(state: State, seconds: float | None = None, **more: Any) -> Run:
    values = {"rollout_id": 1, "database_id": 1, "kind": "upgrade", "wave": 0, "seq": 0} | more
    return Run(state=state, seconds=seconds, **values)


def test_an_empty_fleet_has_its_zeros(app: Flask) -> None:
    samples = scrape(app)
    for state in State:
        assert value(samples, "runs", state=state.value) == 0
    for stage in Stage:
        assert value(samples, "rollouts", stage=stage.value) == 0
    assert value(samples, "workers") == 0
    assert value(samples, "webhook_deliveries_pending") == 0
    assert value(samples, "catalog_ready") == 1


def test_runs_are_told_by_state_and_how_long_they_took(app: Flask) -> None:
    add(project(), database(), rollout())
    add(run(State.SUCCEEDED, 0.2), run(State.SUCCEEDED, 0.3), run(State.FAILED, 40))
    add(run(State.PENDING), run(State.CANCELLED), run(State.RUNNING), run(State.LOST))
    add(run(State.SUCCEEDED, 7200, kind="undo"))
    samples = scrape(app)
    told = {state.value: value(samples, "runs", state=state.value) for state in State}
    once = {"pending": 1, "running": 1, "cancelled": 1, "failed": 1, "lost": 1}
    assert told == once | {"succeeded": 3}
    buckets = {
        bound: value(samples, "run_seconds_bucket", kind="upgrade", le=bound)
        for bound in ("0.1", "0.25", "0.5", "30.0", "60.0", "+Inf")
    }
    assert buckets == {"0.1": 0, "0.25": 1, "0.5": 2, "30.0": 2, "60.0": 3, "+Inf": 3}
    assert value(samples, "run_seconds_sum", kind="upgrade") == pytest.approx(40.5)
    assert value(samples, "run_seconds_count", kind="upgrade") == 3
    assert value(samples, "run_seconds_bucket", kind="undo", le="1800.0") == 0
    assert value(samples, "run_seconds_bucket", kind="undo", le="+Inf") == 1


def test_what_has_ended_is_counted_once_and_what_has_not_each_time(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_counts, "BLOCK", 10)
    monkeypatch.setattr(run_counts, "BLOCK_OF", Run.id // sa.literal_column("10", sa.Integer))
    counted: list[tuple[int, int]] = []
    real = run_counts._counted
    monkeypatch.setattr(run_counts, "_counted", lambda *a: counted.append(a) or real(*a))
    add(project(), database(), rollout())
    add(*(run(State.SUCCEEDED, 1.0, id=number) for number in range(1, 60)))
    add(run(State.PENDING, id=60))
    assert value(scrape(app), "runs", state="succeeded") == 59
    assert counted == [(0, 6)]
    add(run(State.LOST, id=75))
    scrape(app)
    assert counted[1:] == [(5, 7)]  # 5 was among the newest, in which rows may yet appear
    with writing() as session:  # one of an older block, as if it had come late
        session.execute(sa.update(Run).where(Run.id == 5).values(state=State.RUNNING))
    samples = scrape(app)
    assert counted[2:] == [(0, 0), (6, 7)]
    states = ("succeeded", "running", "failed")
    assert [value(samples, "runs", state=state) for state in states] == [58, 1, 0]
    with writing() as session:
        not_ended = Run.state.in_(UNENDED)
        session.execute(sa.update(Run).where(not_ended).values(state=State.FAILED))
    samples = scrape(app)
    # The block of 5 was open when it was last counted: once more, and never again.
    assert counted[4:] == [(0, 0), (6, 7)]
    assert [value(samples, "runs", state=state) for state in states] == [58, 0, 3]
    scrape(app)
    assert counted[6:] == [(6, 7)]


def test_databases_are_told_by_where_they_stand(app: Flask) -> None:
    add(project())
    for position, current, number in (
        ("at_head", "r2", 5),
        ("behind", "r1", 2),
        ("behind", "r0", 1),
        ("", "", 4),
    ):
        add(PositionCount(project_id=1, position=position, current=current, databases=number))
    samples = scrape(app)
    told = {
        position: value(samples, "databases", project="crm", position=position)
        for position in ("at_head", "behind", "unknown", "torn")
    }
    assert told == {"at_head": 5, "behind": 3, "unknown": 4, "torn": 0}


def revision(name: str, place: int, **ago: float) -> Revision:
    lists: dict[str, Any] = {"parents": [], "depends_on": [], "labels": [], "sql": {}}
    return Revision(
        project_id=1,
        revision=name,
        checksum=name,
        message=name,
        path=f"{name}.py",
        place=place,
        present=True,
        first_seen_at=datetime.now(UTC) - timedelta(**ago),
        **lists,
    )


@pytest.mark.parametrize(
    ("standing", "seconds"),
    [
        ([("at_head", "r3")], 0),
        ([("behind", "r2")], 60),
        ([("behind", "r2"), ("behind", "r1")], 3600),
        ([("behind", "")], 7200),
        ([("behind", "r1+r2")], 60),
        ([("behind", "nobody knows it")], 0),
    ],
)
def test_the_oldest_behind_is_as_old_as_the_oldest_revision_that_it_lacks(
    app: Flask, standing: list[tuple[str, str]], seconds: float
) -> None:
    add(project(), revision("r1", 1, hours=2), revision("r2", 2, hours=1))
    add(revision("r3", 3, minutes=1))
    for position, current in standing:
        add(PositionCount(project_id=1, position=position, current=current, databases=1))
    told = value(scrape(app), "oldest_behind_seconds", project="crm")
    assert told == pytest.approx(seconds, abs=30 if seconds else 0)


def test_workers_rollouts_and_deliveries_are_told(app: Flask) -> None:
    add(project(), rollout(), rollout(stage=Stage.HALTED), rollout(stage=Stage.HALTED))
    like = {"host": "h", "pid": 1, "release": "1", "engine": "embedded"}
    for name, ago, stopped in (("a", 0, None), ("b", 600, None), ("c", 0, NOW)):
        beat = datetime.now(UTC) - timedelta(seconds=ago)
        add(Worker(name=name, beat_at=beat, stopped_at=stopped, **like))
    webhooks.create_webhook(ROOT, {"name": "w", "url": "http://127.0.0.1:9/t0p"})
    with writing() as session:
        webhooks.announce(session, "rollout.halted", dict)
    samples = scrape(app)
    assert value(samples, "workers") == 1
    assert value(samples, "rollouts", stage="halted") == 2
    assert value(samples, "rollouts", stage="pending") == 1
    assert value(samples, "webhook_deliveries_pending") == 1


def test_two_processes_tell_the_same(app: Flask, migrated_url: URL) -> None:
    add(project(), database(), rollout(), run(State.SUCCEEDED, 1.5))
    other = create_app(settings_for(migrated_url))
    ours = {name: number for name, number in scrape(app).items() if "run" in name[0]}
    with other.app_context():
        theirs = scrape(other)
        db.engine.dispose()
    assert ours
    assert {name: theirs[name] for name in ours} == ours


def test_a_catalog_that_is_not_there_leaves_the_page_and_says_so(app: Flask) -> None:
    with db.engine.connect().execution_options(write=True) as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'c0010'"))
        connection.commit()
    samples = scrape(app)
    assert value(samples, "catalog_ready") == 0
    assert not [name for name, _ in samples if name == "headway_runs"]
