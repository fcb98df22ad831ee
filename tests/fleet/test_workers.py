"""Who works, who is alive, and who has gone with runs in their hands."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from flask import Flask

from app.extensions import db
from app.fleet import workers
from app.models import Worker
from tests.fleet.conftest import ROOT


def age(name: str, seconds: float) -> None:
    """As if it had beaten for the last time so long ago."""
    then = datetime.now(UTC) - timedelta(seconds=seconds)
    db.session.execute(sa.update(Worker).where(Worker.name == name).values(beat_at=then))
    db.session.commit()


def listed(*, gone: bool = False) -> list[workers.WorkerInfo]:
    found, _ = workers.list_workers(ROOT, limit=50, gone=gone)
    db.session.rollback()  # on SQLite a reader keeps writers waiting
    return found


def names(*, gone: bool = False) -> list[str]:
    return [one.name for one in listed(gone=gone)]


def test_names_are_never_given_twice() -> None:
    assert len({workers.new_name() for _ in range(100)}) == 100


def test_a_worker_is_alive_while_it_beats(anywhere: Flask) -> None:
    workers.register("w1", workers.EMBEDDED)
    assert names() == ["w1"]
    age("w1", workers.LOST_SECONDS + 1)
    assert names() == []
    assert [one.state for one in listed(gone=True)] == ["silent"]
    assert workers.beat("w1", done=7)
    assert names() == ["w1"]
    assert workers.count_alive() == 1
    seen = listed()[0]
    assert (seen.done, seen.engine, seen.state) == (7, "embedded", "alive")


def test_one_that_ended_is_gone_at_once_and_stays_in_the_list(anywhere: Flask) -> None:
    workers.register("w1", workers.CELERY)
    workers.stop("w1", done=3)
    assert names() == []
    assert [one.state for one in listed(gone=True)] == ["stopped"]
    assert not workers.beat("w1"), "what has ended does not come back under its name"
    assert workers.count_alive() == 0


def test_whoever_takes_its_place_says_that_it_is_dead(anywhere: Flask) -> None:
    workers.register("w1", workers.EMBEDDED)
    workers.register("w2", workers.EMBEDDED, replaces="w1")
    assert names() == ["w2"]


def test_the_list_forgets_after_a_week(anywhere: Flask) -> None:
    workers.register("old", workers.EMBEDDED)
    age("old", 8 * 24 * 3600)
    workers.register("new", workers.EMBEDDED)
    assert names(gone=True) == ["new"]


def test_gone_are_those_who_are_silent_have_ended_or_were_never_here(anywhere: Flask) -> None:
    for name in ("silent", "stopped", "alive", "other"):
        workers.register(name, workers.EMBEDDED)
    age("silent", workers.LOST_SECONDS + 1)
    age("other", workers.LOST_SECONDS + 1)
    workers.stop("stopped")
    asked = ["silent", "stopped", "alive", "unknown"]
    assert workers.gone(asked) == ["silent", "stopped", "unknown"]
    assert workers.gone([]) == []


def test_a_page_of_workers_says_where_the_next_one_begins(anywhere: Flask) -> None:
    for number in range(3):
        workers.register(f"w{number}", workers.EMBEDDED)
    found, following = workers.list_workers(ROOT, limit=2)
    assert [one.name for one in found] == ["w0", "w1"]
    found, following = workers.list_workers(ROOT, limit=2, after=following)
    assert [one.name for one in found] == ["w2"]
    assert following is None
