"""`flask runs`: listed, shown, exported; one database at once."""

import csv
import json
import re
from pathlib import Path

from tests.cli.shell import Shell, Working, broken, flask, fleet, stands
from tests.fleet.fleets import Fleet

__all__ = ["flask", "fleet"]


def test_runs_are_listed_and_shown(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(2)
    fleet.start(waves=["1", "100%"])
    fleet.drain()
    listed = flask("runs", "list", "--rollout", "1", "--state", "succeeded")
    header, first, second = listed.stdout.splitlines()
    assert header == "id\trollout\tdatabase\tkind\tstate\tbefore\tafter\tseconds\terror"
    assert first.startswith("1\t1\td000\tupgrade\tsucceeded\tr001\tr003\t0.")
    assert flask("runs", "list", "--database", "d001").stdout.splitlines() == [header, second]
    assert flask("runs", "list", "--kind", "undo").stdout.splitlines() == [header]
    page = flask("runs", "list", "--limit", "1")
    assert page.stderr == "More: --after 1\n"
    (rest,) = flask.json("runs", "list", "--after", "1")["items"]
    assert (rest["database"], rest["wave"]) == ("d001", 2)
    shown = flask("runs", "show", "1").stdout
    assert "Applied\tr002, r003\n" in shown
    assert re.search(r"^Created\t\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$", shown, re.MULTILINE)
    assert "CREATE TABLE t2" in shown
    assert flask("runs", "show", "1", "--sql").stdout.startswith("CREATE TABLE t2")
    told = flask.json("runs", "show", "1")
    assert "r002" in told["log"]
    assert "There is no run 9." in flask("runs", "show", "9", code=1).stderr


def test_an_error_is_whole_where_no_person_reads_it(flask: Shell, fleet: Fleet) -> None:
    fleet.add("a")
    broken(fleet, "a")
    fleet.start()
    fleet.drain()
    whole = flask.json("runs", "list", "--state", "failed")["items"][0]["error"]
    assert len(whole) > 80
    row = flask("runs", "list", "--state", "failed").stdout.splitlines()[1]
    assert row.split("\t")[-1] == " ".join(whole.split())


def test_history_is_written_to_where_one_wants_it(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(2)
    fleet.start()
    fleet.drain()
    rows = [json.loads(line) for line in flask("runs", "export").stdout.splitlines()]
    assert [row["database"] for row in rows] == ["d000", "d001"]
    assert all("CREATE TABLE t2" in row["sql"] for row in rows)
    file = fleet.folder / "runs.csv"
    flask("runs", "export", "--format", "csv", "--database", "d001", "--output", str(file))
    with file.open(newline="") as text:
        (row,) = csv.DictReader(text)
    assert (row["database"], row["state"], row["after"]) == ("d001", "succeeded", "r003")
    assert flask("runs", "export", "--rollout", "9").stdout == ""


def test_one_database_is_brought_along_and_waited_for(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(2)
    with Working(fleet, pause=0.3):
        done = flask("runs", "start", "d000", "upgrade", "r002", "--wait")
    assert done.stdout.splitlines()[-1] == "Rollout 1: succeeded, wave 1 of 1, 1 of 1 done."
    assert stands(fleet, "d000", "d001") == ["r002", "r001"]
    begun = flask("runs", "start", "d000", "downgrade", "-1")
    assert begun.stdout == "Started rollout 2. `flask rollouts watch 2` waits for it.\n"
    fleet.drain()
    assert stands(fleet, "d000") == ["r001"]
    made = flask.json("runs", "start", "d000", "snapshot")
    assert (made["kind"], made["title"]) == ("snapshot", "snapshot of d000")
    fleet.drain()
    (run,) = flask.json("runs", "list", "--kind", "snapshot")["items"]
    assert Path(run["snapshot"]).exists()
    assert flask("runs", "start", "nobody", "upgrade", code=1)
    assert flask("runs", "start", "d000", "explode", code=2)


def test_one_that_fails_tells_the_shell(flask: Shell, fleet: Fleet) -> None:
    fleet.add("a")
    (fleet.folder / "a.db").write_bytes(b"this is no database at all" * 50)
    with Working(fleet, pause=0.3):
        done = flask("runs", "start", "a", "upgrade", "--wait", code=1)
    assert "1 failed" in done.stdout


def test_a_database_is_opened(flask: Shell, fleet: Fleet) -> None:
    fleet.add("lazy", strategy="on_open")
    fleet.add("waved")
    with Working(fleet, pause=0.3):
        done = flask("runs", "open", "lazy", "--wait")
    assert "succeeded" in done.stdout
    assert flask("runs", "open", "lazy").stdout == "lazy is at head.\n"
    assert flask.json("runs", "open", "lazy") == {
        "ready": True,
        "position": "at_head",
        "rollout": None,
    }
    waved = flask("runs", "open", "waved").stdout
    assert waved == "waved is behind. Nothing was started: rollouts migrate this database.\n"
