"""Refresh asks everybody, changes nobody, waits for nobody, and believes what is newer."""

import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import update
from sqlalchemy.engine import URL

from app import errors
from app.extensions import db
from app.fleet import databases, projects
from app.fleet.counts import positions
from app.fleet.isolation.pool import Call, Pool, TimedOut
from app.fleet.projects import scripts
from app.fleet.refresh import probe, refresh
from app.fleet.workers import periodic
from app.models import Database, Loading, Project, Run, State
from tests.fleet.conftest import ROOT, at_once, project_at, ready_project
from tests.fleet.fleets import fleet_on, move
from tests.migrator.making import run
from tests.migrator.scripts import write_project, write_revision


def registered(project_id: int, url: URL | Path, name: str) -> int:
    text = (
        f"sqlite:///{url}" if isinstance(url, Path) else url.render_as_string(hide_password=False)
    )
    made, _ = databases.register_database(
        ROOT, {"project_id": project_id, "name": name, "url": text}
    )
    return made.id


def upgraded(project_id: int, url: URL | Path, target: str = "heads") -> None:
    move(projects.scripts_of(db.session.get_one(Project, project_id)).at(url), target)


def row(database_id: int) -> Database:
    db.session.rollback()
    return db.session.get_one(Database, database_id, populate_existing=True)


def stands(database_id: int) -> tuple[str, str, int | None]:
    found = row(database_id)
    return found.position, found.current, found.pending


def counted() -> dict[tuple[str, str], int]:
    db.session.rollback()
    return {(one.position, one.current): one.databases for one in positions.counts()}


@pytest.fixture
def shop(fleet_here: Flask, tmp_path: Path) -> int:
    return ready_project(write_project(tmp_path / "scripts", 3))


# --- what is found --------------------------------------------------------------------------


def test_every_position_is_found_and_counted(shop: int, tmp_path: Path) -> None:
    names = ("head", "behind", "empty", "unstamped", "foreign", "damaged", "gone", "ahead")
    files = {name: tmp_path / f"{name}.db" for name in names}
    for name, target in (
        ("head", "heads"),
        ("behind", "r001"),
        ("gone", "heads"),
        ("ahead", "heads"),
    ):
        upgraded(shop, files[name], target)
    files["empty"].touch()
    run(URL.create("sqlite", database=str(files["unstamped"])), "CREATE TABLE t1 (id INTEGER)")
    run(
        URL.create("sqlite", database=str(files["foreign"])),
        "CREATE TABLE alembic_version (version_num VARCHAR(32))",
        "INSERT INTO alembic_version VALUES ('zzz')",
    )
    run(
        URL.create("sqlite", database=str(files["ahead"])),
        "UPDATE alembic_version SET version_num='r999'",
    )
    files["damaged"].write_bytes(b"no database at all" * 100)
    ids = {name: registered(shop, file, name) for name, file in files.items()}
    files["gone"].unlink()
    assert refresh.refresh(shop) == len(ids)
    assert {name: stands(key) for name, key in ids.items()} == {
        "head": ("at_head", "r003", 0),
        "behind": ("behind", "r001", 2),
        "empty": ("empty", "", 3),
        "unstamped": ("unstamped", "", 3),
        "foreign": ("foreign", "zzz", 3),
        "ahead": ("ahead", "r999", 3),
        "damaged": ("unreachable", "", None),
        "gone": ("unreachable", "", None),
    }
    assert "There is no file" in (row(ids["gone"]).reason or "")
    assert not files["gone"].exists()
    head = row(ids["head"])
    assert head.size_bytes == files["head"].stat().st_size
    assert head.milliseconds
    assert head.seen_at
    assert head.seen_at == head.asked_at
    assert row(ids["gone"]).seen_at is None
    assert counted()["unreachable", ""] == 2
    assert sum(counted().values()) == len(ids)
    assert db.session.get_one(Project, shop).refreshed_at


@pytest.mark.parametrize("backend", ["postgresql", "mariadb"])
def test_a_database_on_a_server_is_asked_and_measured(
    backend: str, fleet_here: Flask, tmp_path: Path, fresh_url: Callable[..., URL]
) -> None:
    shop = ready_project(write_project(tmp_path / "scripts", 3))
    url = fresh_url(backend)
    upgraded(shop, url, "r002")
    key, missing = (
        registered(shop, url, "a"),
        registered(shop, url.set(database="nowhere_at_all"), "b"),
    )
    assert refresh.refresh(shop) == 2
    assert stands(key) == ("behind", "r002", 1)
    assert (row(key).size_bytes or 0) > 1000
    assert stands(missing) == ("unreachable", "", None)
    assert "connect_timeout" not in (row(missing).reason or "")


def test_a_refresh_on_every_catalog(fleet_anywhere: Flask, tmp_path: Path) -> None:
    shop = ready_project(write_project(tmp_path / "scripts", 2))
    upgraded(shop, tmp_path / "0.db", "r001")
    ids = []
    for number in range(7):
        if number:
            shutil.copy(tmp_path / "0.db", tmp_path / f"{number}.db")
        ids.append(registered(shop, tmp_path / f"{number}.db", f"n{number}"))
    version, changed = row(ids[0]).version, row(ids[0]).updated_at
    assert refresh.refresh(shop) == 7
    assert refresh.refresh(shop, ids[:2]) == 2
    assert counted() == {("behind", "r001"): 7}
    assert (row(ids[0]).version, row(ids[0]).updated_at) == (version, changed)
    upgraded(shop, tmp_path / "0.db")
    assert refresh.refresh(shop, [ids[0]]) == 1
    assert counted() == {("behind", "r001"): 6, ("at_head", "r002"): 1}


def test_one_that_no_longer_answers_keeps_what_was_known(shop: int, tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    upgraded(shop, file)
    key = registered(shop, file, "a")
    refresh.refresh(shop)
    seen, size = row(key).seen_at, row(key).size_bytes
    file.rename(tmp_path / "b.db")
    refresh.refresh(shop)
    assert stands(key) == ("unreachable", "r003", 0)
    assert (row(key).seen_at, row(key).size_bytes) == (seen, size)
    assert row(key).asked_at != seen
    (tmp_path / "b.db").rename(file)
    refresh.refresh(shop)
    assert stands(key) == ("at_head", "r003", 0)
    assert row(key).reason is None


def test_a_password_never_comes_into_a_reason(shop: int) -> None:
    url = URL.create(
        "postgresql", "joe", "s3cret word", "127.0.0.1", 9, "x", {"sslpassword": "hush"}
    )
    key = registered(shop, url, "a")
    refresh.refresh(shop)
    reason = row(key).reason or ""
    assert row(key).position == "unreachable"
    assert "127.0.0.1:9" in reason
    assert not {"s3cret", "hush", "connect_timeout"} & set(reason.replace("=", " ").split())
    assert "s3cret" not in reason


def test_a_retired_one_is_not_asked(shop: int, tmp_path: Path) -> None:
    upgraded(shop, tmp_path / "a.db")
    key = registered(shop, tmp_path / "a.db", "a")
    databases.retire_database(ROOT, key)
    assert refresh.refresh(shop) == 0
    assert row(key).position == ""


# --- beside runs ----------------------------------------------------------------------------


def test_an_older_look_does_not_overwrite_what_a_run_left(shop: int, tmp_path: Path) -> None:
    upgraded(shop, tmp_path / "a.db", "r001")
    key = registered(shop, tmp_path / "a.db", "a")
    tour = refresh._refresh_batch(shop)
    (page,) = list(probe.pages(shop, [key], {}))
    seen = list(probe.probe_page(tour, page))
    # Meanwhile a run brings it to head, and says so.
    later = {"position": "at_head", "current": "r003", "asked_at": datetime.now(UTC)}
    db.session.execute(update(Database).where(Database.id == key).values(**later))
    db.session.commit()
    assert refresh._store_results(seen) == 0
    assert stands(key)[:2] == ("at_head", "r003")


def test_one_that_is_being_migrated_is_left_alone(shop: int, tmp_path: Path) -> None:
    from app.models import Rollout

    upgraded(shop, tmp_path / "a.db", "r001")
    key = registered(shop, tmp_path / "a.db", "a")
    tour = refresh._refresh_batch(shop)
    (page,) = list(probe.pages(shop, [key], {}))
    seen = list(probe.probe_page(tour, page))
    rollout = Rollout(
        project_id=shop, kind="upgrade", target="heads", selector={}, waves=["100%"], sizes=[1],
        gate={}, concurrency=1, per_server=1, timeout_seconds=1, snapshot=False, retreat=False,
        by_name="test",
    )  # fmt: skip
    db.session.add(rollout)
    db.session.flush()
    db.session.add(
        Run(
            rollout_id=rollout.id,
            database_id=key,
            kind="upgrade",
            wave=0,
            seq=0,
            state=State.RUNNING,
        )
    )
    db.session.commit()
    assert refresh._store_results(seen) == 0
    assert refresh.refresh(shop) == 0
    assert row(key).position == ""


def test_two_refreshes_at_once_count_each_database_once(
    fleet_anywhere: Flask, tmp_path: Path
) -> None:
    shop = ready_project(write_project(tmp_path / "scripts", 2))
    upgraded(shop, tmp_path / "0.db")
    for number in range(30):
        if number:
            shutil.copy(tmp_path / "0.db", tmp_path / f"{number}.db")
        registered(shop, tmp_path / f"{number}.db", f"n{number}")
    found = at_once(fleet_anywhere, *[lambda: refresh.refresh(shop)] * 3)
    assert all(isinstance(one, int) for one in found), found
    assert counted() == {("at_head", "r002"): 30}


# --- when -----------------------------------------------------------------------------------


def test_a_refresh_is_due_when_it_is_time_or_somebody_asks(shop: int) -> None:
    assert refresh.due() == [shop]
    refresh.refresh(shop)
    assert refresh.due() == []
    projects.ask_refresh(ROOT, shop)
    assert refresh.due() == [shop]
    refresh.refresh(shop)
    assert refresh.due() == []
    long_ago = datetime.now(UTC) - timedelta(seconds=301)
    db.session.execute(update(Project).values(refreshed_at=long_ago, refresh_asked_at=None))
    db.session.commit()
    assert refresh.due() == [shop]
    db.session.execute(update(Project).values(refresh_seconds=0))
    db.session.commit()
    assert refresh.due() == []


def test_a_new_release_is_reason_enough(shop: int, tmp_path: Path) -> None:
    refresh.refresh(shop)
    write_revision(tmp_path / "scripts", "r004", "r003")
    scripts.load(shop)
    assert refresh.due() == [shop]


def test_a_project_that_cannot_be_used_says_why(fleet_here: Flask, tmp_path: Path) -> None:
    folder = write_project(tmp_path / "scripts", 1)
    project_id = project_at(folder)
    with pytest.raises(errors.ProjectNotReady, match="not been read"):
        refresh.refresh(project_id)
    scripts.load(project_id)
    upgraded(project_id, tmp_path / "a.db")
    registered(project_id, tmp_path / "a.db", "a")
    (folder / "env.py").write_text("raise ValueError('no settings')")
    with pytest.raises(errors.ProjectNotReady, match="no settings"):
        refresh.refresh(project_id)
    assert db.session.get_one(Project, project_id).state == Loading.BROKEN
    assert refresh.due() == []


# --- who does not answer --------------------------------------------------------------------


@contextmanager
def mute_server() -> Iterator[int]:
    """A port where somebody picks up and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


def test_a_server_that_hangs_holds_nobody_up(
    fleet_here: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = ready_project(write_project(tmp_path / "scripts", 1))
    monkeypatch.setattr(probe, "CONNECT_SECONDS", 2)
    upgraded(shop, tmp_path / "0.db")
    with mute_server() as port, mute_server() as other:
        hanging = [
            registered(
                shop, URL.create(kind, "u", "p", "127.0.0.1", number, f"d{count}"), f"{kind}{count}"
            )
            for kind, number in (("postgresql", port), ("mysql", other))
            for count in range(40)
        ]
        files = []
        for number in range(50):
            if number:
                shutil.copy(tmp_path / "0.db", tmp_path / f"{number}.db")
            files.append(registered(shop, tmp_path / f"{number}.db", f"n{number}"))
        tour = refresh._refresh_batch(shop)
        tour.seconds = 4
        (page,) = list(probe.pages(shop, None, {}))
        began, after = time.monotonic(), {}
        for key, _ in probe.probe_page(tour, page):
            after[key] = time.monotonic() - began
        assert max(after[key] for key in files) < 2
        assert max(after.values()) < 15
        assert refresh.refresh(shop) == 130
    assert {row(key).position for key in hanging} == {"unreachable"}
    assert "does not answer" in (row(hanging[39]).reason or "")
    assert {row(key).position for key in files} == {"at_head"}


def test_each_is_answered_for_once_whatever_hangs() -> None:
    never = threading.Event()

    def ask(number: int) -> Callable[[], int]:
        def answer() -> int:
            if number % 7 == 0:
                never.wait(30)
            if number % 5 == 0:
                raise ValueError(number)
            return number

        return answer

    calls = [
        Call(key=n, server=None if n % 2 else f"s{n % 4}", function=ask(n)) for n in range(1, 60)
    ]
    pool: Pool[int] = Pool(at_once=6, per_server=2, seconds=0.5)
    found = dict(pool.run(calls))
    assert sorted(found) == list(range(1, 60))
    assert isinstance(found[7], TimedOut)
    assert isinstance(found[5], ValueError)
    assert found[11] == 11
    never.set()


def test_no_more_than_so_many_of_one_server_are_asked_at_once() -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def ask() -> None:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.01)
        with lock:
            now[0] -= 1

    pool: Pool[None] = Pool(at_once=10, per_server=3, seconds=5)
    assert len(list(pool.run([Call(key=n, server="s", function=ask) for n in range(30)]))) == 30
    assert most == [3]


def test_a_server_that_answers_again_is_asked_again() -> None:
    pool: Pool[int] = Pool(at_once=4, per_server=2, seconds=0.2)
    wait = threading.Event()

    def hang() -> int:
        wait.wait(10)
        return 0

    first = dict(pool.run([Call(key=n, server="s", function=hang) for n in range(20)]))
    asked = [one for one in first.values() if isinstance(one, TimedOut) and one.was_called]
    assert len(first) == 20
    assert len(asked) <= 5
    wait.set()
    fresh: Pool[int] = Pool(at_once=4, per_server=2, seconds=0.2)
    assert dict(fresh.run([Call(key=1, server="s", function=lambda: 5)])) == {1: 5}


def test_whoever_stops_listening_leaves_no_thread_behind() -> None:
    pool: Pool[int] = Pool(at_once=4, seconds=5)
    before = set(threading.enumerate())
    for _ in pool.run([Call(key=n, server=None, function=lambda: 1) for n in range(50)]):
        break
    ours = set(threading.enumerate()) - before
    assert ours
    for thread in ours:
        thread.join(5)
    assert not [thread for thread in ours if thread.is_alive()]


def test_whoever_is_new_is_asked_without_being_told_to(migrated_url: URL, tmp_path: Path) -> None:
    with fleet_on(migrated_url, tmp_path) as fleet:
        periodic.refresh_due()
        assert refresh.never_probed() == {}
        made, _ = databases.register_database(
            ROOT,
            {
                "project_id": fleet.project_id,
                "name": "new",
                "url": f"sqlite:///{fleet.file('new')}",
            },
        )
        assert fleet.counts() == {("unknown", ""): 1}
        assert refresh.never_probed() == {fleet.project_id: [made.id]}
        periodic.refresh_due()
        assert fleet.counts() == {("behind", "r001"): 1}
        assert refresh.never_probed() == {}
