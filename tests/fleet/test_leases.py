"""One of many holds a lease, and nobody for long who is dead."""

import time
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from flask import Flask

from app.extensions import db
from app.fleet.core import leases
from app.models import Lease
from tests.fleet.conftest import at_once


def expire(name: str) -> None:
    past = datetime.now(UTC) - timedelta(minutes=5)
    db.session.execute(sa.update(Lease).where(Lease.name == name).values(until=past))
    db.session.commit()


def until(name: str) -> datetime:
    found = db.session.scalar(sa.select(Lease.until).where(Lease.name == name))
    db.session.rollback()
    assert found
    return found


def test_one_holder_at_a_time(anywhere: Flask) -> None:
    assert leases.hold("x", "one", 30)
    assert not leases.hold("x", "two", 30)
    assert leases.hold("x", "one", 30)
    assert leases.hold("y", "two", 30), "another name is another lease"


def test_of_many_who_want_it_at_once_one_gets_it(anywhere: Flask) -> None:
    def wants(holder: str) -> bool:
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            if leases.hold("x", holder, 30):
                return True
            time.sleep(0.05)
        return False

    for _ in range(3):
        names = [f"w{number}" for number in range(6)]
        answers = at_once(
            anywhere, *(lambda name=name: leases.hold("x", name, 30) for name in names)
        )
        assert sum(answer is True for answer in answers) <= 1, answers
        assert all(answer in (True, False) for answer in answers), answers
        winner = db.session.scalar(sa.select(Lease.holder).where(Lease.name == "x"))
        db.session.rollback()
        assert winner is None or all(
            leases.hold("x", name, 30) is (name == winner) for name in names
        )
        expire("x")
    assert wants("last")


def test_what_a_dead_holder_had_is_free_when_its_time_is_over(anywhere: Flask) -> None:
    assert leases.hold("x", "dead", 3)
    assert not leases.hold("x", "heir", 30)
    time.sleep(3.1)
    assert leases.hold("x", "heir", 30)
    assert not leases.hold("x", "dead", 30)


def test_given_back_it_is_free_at_once(anywhere: Flask) -> None:
    assert leases.hold("x", "one", 30)
    leases.give_back("x", "two")
    assert not leases.hold("x", "two", 30), "only its holder gives it back"
    leases.give_back("x", "one")
    assert leases.hold("x", "two", 30)
    leases.give_back("x", "one")
    assert not leases.hold("x", "one", 30)


def test_it_is_written_only_when_half_of_it_is_gone(here: Flask) -> None:
    assert leases.hold("x", "one", 4)
    first = until("x")
    assert leases.hold("x", "one", 4)
    assert until("x") == first
    time.sleep(2.2)
    assert leases.hold("x", "one", 4)
    assert until("x") > first


def test_a_catalog_that_somebody_writes_is_not_waited_for(here: Flask) -> None:
    with db.engine.connect() as busy:
        busy.execution_options(write=True).begin()
        began = time.monotonic()
        assert not leases.hold("x", "one", 30)
        assert time.monotonic() - began < 2
    assert leases.hold("x", "one", 30)


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"], indirect=True)
def test_the_time_is_the_servers(anywhere: Flask) -> None:
    with db.engine.connect() as connection:
        assert abs(leases.clock(connection) - datetime.now(UTC)) < timedelta(seconds=5)
