"""No command migrates as a side effect; the ones that migrate do it as safely as a boot."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import URL

from tests import servers
from tests.boot.conftest import outcomes, rows, state
from tests.conftest import environment_for
from tests.live import ready
from tests.migrations.conftest import REVISIONS
from tests.releases import Release


def test_a_downgrade_stays_until_the_service_starts(release: Release, at_head: URL) -> None:
    env = environment_for(at_head)
    down = release.run("flask", "db", "downgrade", "c0007", env=env)
    assert down.returncode == 0, down.stderr
    assert "-> c0007" in release.run("flask", "db", "current", env=env).stdout
    assert state(at_head)["versions"] == ["c0007"]
    port = servers.free_port()
    service = release.start("flask", "run", "-p", str(port), env=env)
    deadline = time.monotonic() + 30
    while not ready(port):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    service.terminate()
    service.communicate()
    assert state(at_head)["versions"] == ["c0015"]
    assert outcomes(at_head, "c0015") == ["succeeded"] * 3  # up, down, up


@pytest.mark.parametrize(
    "command",
    [
        ("db", "current"),
        ("db", "heads"),
        ("db", "log"),
        ("catalog", "status"),
        ("catalog", "history"),
        ("catalog", "validate"),
        ("catalog", "repair", "--dry-run"),
        ("accounts", "list"),
        ("accounts", "create", "x"),
        ("tokens", "list"),
        ("routes",),
    ],
)
def test_no_command_migrates(release: Release, sqlite_url: URL, command: tuple[str, ...]) -> None:
    done = release.run("flask", *command, env=environment_for(sqlite_url))
    assert "Traceback" not in done.stderr
    assert state(sqlite_url) == {}
    if command[0] in ("accounts", "tokens"):
        assert done.returncode == 1
        assert "The catalog is at empty, and this needs c0015" in done.stderr
        assert "flask db upgrade" in done.stderr


def test_an_upgrade_by_command_leaves_history_and_snapshot(
    release: Release, sqlite_url: URL
) -> None:
    env = environment_for(sqlite_url)
    assert release.run("flask", "db", "upgrade", "c0008", env=env).returncode == 0
    assert release.run("flask", "db", "upgrade", env=env).returncode == 0
    history = rows(sqlite_url, "SELECT revision, action, outcome FROM headway_history ORDER BY id")
    assert history == [(revision, "upgrade", "succeeded") for revision in REVISIONS]
    assert len(list(Path(str(sqlite_url.database)).parent.glob("*.c0008.snapshot"))) == 1


def test_a_catalog_that_a_command_made_lets_readers_be(release: Release, sqlite_url: URL) -> None:
    """Workers write while a command watches: with a rollback journal each would wait for it."""
    done = release.run("flask", "db", "upgrade", env=environment_for(sqlite_url))
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(str(sqlite_url.database))) as catalog:
        assert catalog.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_downgrade_below_the_fleet_takes_it_away_and_commands_say_what_is_next(
    release: Release, at_head: URL
) -> None:
    env = environment_for(at_head)
    address = ("--url", "http://127.0.0.1:9/t0p")
    assert release.run("flask", "webhooks", "create", "chat", *address, env=env).returncode == 0
    down = release.run("flask", "db", "downgrade", "c0010", env=env)
    assert down.returncode == 0, down.stderr
    listed = release.run("flask", "webhooks", "list", env=env)
    assert listed.returncode == 1
    assert "The catalog is at c0010, and this needs c0015" in listed.stderr
    assert "flask db upgrade" in listed.stderr
    assert rows(at_head, "SELECT name FROM account WHERE id = 100") == [("Ada",)]
    if at_head.get_backend_name() == "sqlite":
        (copy,) = Path(str(at_head.database)).parent.glob("*.c0015.snapshot")
        kept = rows(at_head.set(database=str(copy)), "SELECT name, address FROM webhook")
        assert kept == [("chat", "http://127.0.0.1:9")]
    assert release.run("flask", "db", "upgrade", env=env).returncode == 0
    listed = release.run("flask", "webhooks", "list", "--json", env=env)
    assert '"items": []' in listed.stdout, listed.stderr
    assert rows(at_head, "SELECT name FROM account WHERE id = 100") == [("Ada",)]


def test_a_revision_that_is_not_there_is_one_sentence(release: Release, at_head: URL) -> None:
    done = release.run("flask", "db", "upgrade", "c9999", env=environment_for(at_head))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "Error: Can't locate revision identified by 'c9999'"


def test_wait_answers_when_the_catalog_is_at_head(release: Release, sqlite_url: URL) -> None:
    env = environment_for(sqlite_url)
    late = release.run("flask", "catalog", "wait", "--timeout", "1", env=env)
    assert late.returncode == 75
    waiting = release.start("flask", "catalog", "wait", "--timeout", "30", env=env)
    assert release.boot(env).returncode == 0
    out, said = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, said
    assert out == "The catalog is at head.\n"


def test_history_tells_who_did_what(release: Release, at_head: URL) -> None:
    import json

    env = environment_for(at_head)
    done = release.run("flask", "catalog", "history", "--json", "--limit", "1", env=env)
    (row,) = json.loads(done.stdout)
    assert (row["revision"], row["action"], row["outcome"]) == ("c0015", "upgrade", "succeeded")
    assert row["started_at"].endswith("Z")
    assert len(row["checksum"]) == 64
    assert row["pid"] > 1
    assert row["release"][0].isdigit()


def test_a_stamp_is_in_the_history_too(release: Release, at_head: URL) -> None:
    env = environment_for(at_head)
    assert release.run("flask", "db", "stamp", "c0009", env=env).returncode == 0
    last = rows(at_head, "SELECT revision, action FROM headway_history ORDER BY id DESC")[0]
    assert last == ("c0009", "stamp")
    assert release.run("flask", "catalog", "validate", env=env).returncode == 0


def test_check_finds_no_difference(release: Release, at_head: URL) -> None:
    done = release.run("flask", "db", "check", env=environment_for(at_head))
    assert done.returncode == 0
    assert "No changes detected" in done.stdout
