"""`flask rollouts`, on real files, with a worker in this process."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from app.extensions import db
from app.fleet import rollouts
from app.models import Role, Stage
from tests.cli.shell import Shell, Working, at_a_terminal, broken, flask, fleet, stands
from tests.conftest import environment_for
from tests.fleet.conftest import person
from tests.fleet.fleets import ROOT, Fleet, lose_worker

__all__ = ["flask", "fleet"]

ALL_FOUR = ("d000", "d001", "d002", "d003")


def mend(fleet: Fleet, name: str) -> None:
    path = fleet.folder / f"{name}.db"
    engine = sa.create_engine(f"sqlite:///{path}", poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE t2")


# --- made ----------------------------------------------------------------------------------------


def test_every_option_is_what_it_says(flask: Shell, fleet: Fleet) -> None:
    member = fleet.add("acme")
    owner, _ = person(Role.VIEWER, "Ada")
    made = flask.json(
        *("rollouts", "create", "--project", "shop", "--kind", "downgrade", "--target", "-1"),
        *("--title", "spring", "--label", "tier=gold", "--label", "canary"),
        *("--owner", str(owner.id), "--position", "behind", "--position", "at_head"),
        *("--database", "acme", "--database", f"shop/{member.name}"),
        *("--wave", "1", "--wave", "10%", "--allow-failures", "3"),
        *("--allow-failures-percent", "1.5", "--soak", "60", "--approval"),
        *("--check-sql", "SELECT 1", "--window", "22:00-04:00 sat,sun Europe/Berlin"),
        *("--concurrency", "20", "--per-server", "2", "--timeout", "30"),
        *("--snapshot", "--no-retreat"),
    )
    assert (made["kind"], made["target"], made["title"]) == ("downgrade", "-1", "spring")
    assert made["selector"] == {
        "project_id": fleet.project_id,
        "labels": {"tier": "gold", "canary": ""},
        "owner_id": owner.id,
        "positions": ["behind", "at_head"],
        "ids": [member.id, member.id],
    }
    assert made["waves"] == ["1", "10%"]
    assert made["gate"] == {
        "failures": 3,
        "failures_percent": 1.5,
        "soak_seconds": 60.0,
        "approval": True,
        "check": "sql",
        "sql": "SELECT 1",
    }
    assert made["window"] == {
        "from": "22:00",
        "until": "04:00",
        "days": ["sat", "sun"],
        "zone": "Europe/Berlin",
    }
    assert (made["concurrency"], made["per_server"], made["timeout_seconds"]) == (20, 2, 30)
    assert (made["snapshot"], made["retreat"]) == (True, False)
    assert (made["stage"], made["wave"]) == ("pending", 0)
    assert flask.json("rollouts", "show", str(made["id"])) == made


def test_a_window_needs_neither_days_nor_zone(flask: Shell) -> None:
    made = flask.json("rollouts", "create", "--project", "shop", "--window", "01:00-02:00")
    assert made["window"]["zone"] == "UTC"
    assert len(made["window"]["days"]) == 7
    zone = flask.json(
        *("rollouts", "create", "--project", "shop", "--window", "01:00-02:00 Asia/Tokyo")
    )
    assert zone["window"]["zone"] == "Asia/Tokyo"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--project", "nobody"), "no project nobody"),
        (("--project", "shop", "--kind", "undo"), "'undo' is not one of"),
        (("--project", "shop", "--wave", "0"), "'0' is not a wave"),
        (("--project", "shop", "--window", "late"), "Example: 22:00-04:00"),
        (("--project", "shop", "--window", "22:00-04:00 Mars/Olympus"), "Mars/Olympus"),
        (("--project", "shop", "--kind", "downgrade"), "needs its target"),
        (("--project", "shop", "--target", "nowhere"), "shop has no revision nowhere"),
        (("--project", "shop", "--target", "base"), "An upgrade cannot reach base"),
        (
            ("--project", "shop", "--wave", "50%", "--wave", "10%"),
            "Wave 10% after 50%: waves must grow",
        ),
        (("--project", "shop", "--check-sql", "DROP TABLE x"), "begin with SELECT"),
        (("--project", "shop", "--label", "!!"), "'!!' is not a valid name of a label"),
        (
            ("--project", "shop", "--check", "drift", "--check-sql", "SELECT 1"),
            "Give only one of --check",
        ),
        (("--project", "shop", "--soak", "nan"), "The soak time must be 0 to"),
        (("--project", "shop", "--timeout", "0"), "timeout_seconds must be a number from"),
        (("--project", "shop", "--database", "nobody"), "no database nobody"),
        (("--project", "shop", "--owner", "no@example.org"), "no account"),
        ((), "Missing option '--project'"),
    ],
)
def test_a_mistake_is_one_sentence(flask: Shell, words: tuple[str, ...], says: str) -> None:
    done = flask.runner.invoke(args=["rollouts", "create", *words])
    assert done.exit_code in (1, 2)
    assert says in done.stderr
    assert "Traceback" not in done.output


# --- before it starts ----------------------------------------------------------------------------


def test_thousands_are_a_few_lines_to_read(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(3)
    fleet.add("later", "r002")
    fleet.add("done", "r003")
    made = flask.json("rollouts", "create", "--project", "shop", "--wave", "1")
    shown = flask("rollouts", "preview", str(made["id"]))
    assert shown.stdout.splitlines() == [
        "databases\tdialect\tcurrent\tends\tsteps",
        "3\tsqlite\tr001\tr003\tr002 r003",
        "1\tsqlite\tr002\tr003\tr003",
        "Left out: 1, already at r003",
        "4 databases, in waves of 1, 3",
    ]
    sql = flask("rollouts", "preview", str(made["id"]), "--sql").stdout
    assert "-- sqlite at r001: 3" in sql
    assert "CREATE TABLE t2" in sql
    told = flask.json("rollouts", "preview", str(made["id"]))
    assert [group["databases"] for group in told["groups"]] == [3, 1]
    dry = flask("rollouts", "create", "--project", "shop", "--wave", "1", "--dry-run")
    assert dry.stdout == shown.stdout
    assert len(flask.json("rollouts", "list")["items"]) == 1, "a dry run makes nothing"


def test_why_there_is_no_plan_is_said(flask: Shell, fleet: Fleet) -> None:
    fleet.add("a")
    flask.json("rollouts", "create", "--project", "shop", "--kind", "downgrade", "--target", "r002")
    shown = flask("rollouts", "preview", "1").stdout
    assert "sqlite at r001: " in shown
    assert "r002" in shown


def test_a_rehearsal_tells_the_shell_whether_one_would_fail(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(3)
    flask("rollouts", "create", "--project", "shop")
    with Working(fleet, pause=0.3):
        good = flask("rollouts", "rehearse", "1", "--watch")
    told, ahead = good.stdout.splitlines()[-2:]
    assert told == "Rollout 1: draft, 3 of 3 rehearsed."
    assert re.fullmatch(r"At this speed the rollout takes about \d+ s\.", ahead)
    broken(fleet, "d001")
    with Working(fleet, pause=0.3):
        bad = flask("rollouts", "rehearse", "1", "--watch", code=1)
    assert "Rollout 1: draft, 3 of 3 rehearsed, 1 failed.\nFirst failure: d001: " in bad.stdout


# --- watched -------------------------------------------------------------------------------------


def test_a_rollout_is_watched_to_its_end(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(4)
    with Working(fleet, pause=0.3):
        done = flask("rollouts", "create", "--project", "shop", "--wave", "1", "--watch")
    first, *_, last = done.stdout.splitlines()
    assert first[9:].startswith("running, wave 1 of 2, 0 of 4 done")
    assert last == "Rollout 1: succeeded, wave 2 of 2, 4 of 4 done."


def test_it_halts_is_mended_resumes_and_is_taken_back(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(4)
    broken(fleet, "d002")
    words = ("--project", "shop", "--wave", "1", "--wave", "3")
    flask("rollouts", "create", *words, "--start")
    fleet.drain()
    halted = flask("rollouts", "watch", "1", code=1)
    assert "1 of 4 failed up to wave 2 of 3 (0 allowed). First failure: d002: " in halted.stdout
    assert halted.stdout.splitlines()[-1] == "When the cause is fixed: `flask rollouts resume 1`."
    assert "halted" in flask("rollouts", "list").stdout
    mend(fleet, "d002")
    assert flask("rollouts", "resume", "1").stdout == "Rollout 1 is running.\n"
    fleet.drain()
    flask("rollouts", "watch", "1")
    assert stands(fleet, *ALL_FOUR) == ["r003"] * 4
    with Working(fleet, pause=0.3):
        undone = flask("rollouts", "undo", "1", "--watch")
    assert undone.stdout.splitlines()[-1] == "Rollout 1: undone, 4 of 4 undone."
    assert stands(fleet, *ALL_FOUR) == ["r001"] * 4


def test_the_shell_is_told_that_some_failed(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(4)
    broken(fleet, "d003")
    flask("rollouts", "create", "--project", "shop", "--allow-failures", "1", "--start")
    fleet.drain()
    partly = flask("rollouts", "watch", "1", code=4)
    assert "succeeded, wave 2 of 2, 3 of 4 done, 1 failed." in partly.stdout
    assert "First failure: d003: " in partly.stdout
    mend(fleet, "d003")
    with Working(fleet, pause=0.3):
        flask("rollouts", "retry", "1", "--watch")


@pytest.mark.parametrize(("verb", "words"), [("pause", "paused"), ("cancel", "cancelled")])
def test_one_that_was_stopped_is_no_success(
    flask: Shell, fleet: Fleet, verb: str, words: str
) -> None:
    fleet.add("a")
    flask("rollouts", "create", "--project", "shop", "--start")
    flask("rollouts", verb, "1")
    assert f"Rollout 1: {words}" in flask("rollouts", "watch", "1", code=1).stdout


def test_one_that_was_not_started_is_not_waited_for(flask: Shell) -> None:
    flask("rollouts", "create", "--project", "shop")
    waited = flask("rollouts", "watch", "1", code=1)
    assert waited.stdout.endswith(
        "Rollout 1 has not started. `flask rollouts start 1` starts it.\n"
    )


def test_programs_get_a_line_of_json_for_each_change(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(2)
    with Working(fleet, pause=0.3):
        done = flask("rollouts", "create", "--project", "shop", "--watch", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[0]["stage"] == "running"
    assert (lines[-1]["stage"], lines[-1]["done"]) == ("succeeded", 2)
    assert len(lines) == len({json.dumps(one) for one in lines})


def test_a_terminal_gets_a_bar_for_each_wave(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(4)
    broken(fleet, "d003")
    words = ("--project", "shop", "--wave", "1", "--start")
    flask("rollouts", "create", *words)
    fleet.drain()
    shown = flask("rollouts", "watch", "1", code=1, FORCE_COLOR="1", COLUMNS="120").stdout
    assert "wave 1" in shown
    assert "1/1" in shown
    assert "wave 2" in shown
    assert "1 failed" in shown
    assert "\x1b[" in shown


def test_nobody_waits_for_workers_that_are_not_there_without_being_told(
    flask: Shell, fleet: Fleet
) -> None:
    fleet.add("a")
    flask("rollouts", "create", "--project", "shop", "--start")
    lose_worker()
    with Working(fleet, pause=1.5):
        done = flask("rollouts", "watch", "1")
    assert "No worker is running" in done.stderr


def flask_of(url: sa.URL, *words: str) -> tuple[list[str], dict[str, str]]:
    """The command in a process of its own, and its environment."""
    env = environment_for(
        url,
        FLASK_APP="wsgi:app",
        HEADWAY_ENCRYPTION_KEYS="MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    )
    return [str(Path(sys.executable).with_name("flask")), *words], env


def answered(answer: str, *words: str) -> tuple[int, str]:
    """What a person at a terminal sees who answers the question; the exit code comes first."""
    return at_a_terminal(*flask_of(db.engine.url, *words), answer)


def test_a_person_at_a_terminal_is_asked_before_an_undo(fleet: Fleet) -> None:
    fleet.add_many(2)
    rollout = fleet.start()
    fleet.drain()
    undo = ("rollouts", "undo", str(rollout.id))
    code, said = answered("n", *undo)
    assert code == 1
    assert "r002 drops t2 with all its rows" in said
    assert f"Undo rollout {rollout.id}? 2 databases will go back." in said
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    code, said = answered("y", *undo)
    assert (code, fleet.stage(rollout)) == (0, Stage.UNDOING), said


def test_who_has_said_yes_is_not_asked(fleet: Fleet) -> None:
    fleet.add("a")
    rollout = fleet.start()
    code, said = answered("n", "rollouts", "cancel", str(rollout.id))
    assert (code, fleet.stage(rollout)) == (1, Stage.RUNNING)
    assert "1 waiting database will not be migrated; 0 done stay as they are." in said
    code, said = answered("n", "rollouts", "cancel", str(rollout.id), "--yes")
    assert (code, fleet.stage(rollout)) == (0, Stage.CANCELLED), said
    down = ("runs", "start", "a", "downgrade", "base")
    code, said = answered("n", *down)
    assert (code, stands(fleet, "a")) == (1, ["r001"])
    assert "r001 drops t1 with all its rows" in said


def test_ctrl_c_leaves_it_running_and_says_so(fleet: Fleet) -> None:
    fleet.add("a")
    rollout = fleet.start()
    command, env = flask_of(db.engine.url, "rollouts", "watch", str(rollout.id))
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert "running" in process.stdout.readline()
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert f"Rollout {rollout.id} continues." in said
    assert "Traceback" not in said
    assert fleet.stage(rollout) == "running"


def test_one_that_waits_for_an_approval_is_not_watched_for_ever(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(2)
    flask("rollouts", "create", "--project", "shop", "--wave", "1", "--approval", "--start")
    fleet.drain()
    seen = flask("rollouts", "watch", "1", code=5)
    assert "waiting, wave 1 of 2, 1 of 2 done" in seen.stdout
    assert "`flask rollouts watch 1 --wait-approval` goes on watching." in seen.stdout
    flask("rollouts", "watch", "1", "--wait-approval", "--timeout", "0.2", code=5)


def test_watching_ends_after_its_time(flask: Shell, fleet: Fleet) -> None:
    fleet.add("a")
    flask("rollouts", "create", "--project", "shop", "--start")
    seen = flask("rollouts", "watch", "1", "--timeout", "0.2", code=75)
    assert "running, wave 1 of 1, 0 of 1 done" in seen.stdout


def test_nothing_to_do_is_success_and_leaves_nothing(flask: Shell, fleet: Fleet) -> None:
    fleet.add("a", "r003")
    fleet.add("b", "r003")
    for how in ("--start", "--watch", "--dry-run"):
        done = flask("rollouts", "create", "--project", "shop", how)
        assert "Nothing to do: 2 already at r003." in done.stdout
    assert flask.json("rollouts", "create", "--project", "shop", "--start")["total"] == 0
    assert flask.json("rollouts", "list")["items"] == []
    draft = flask.json("rollouts", "create", "--project", "shop")["id"]
    assert "Nothing to do" in flask("rollouts", "start", str(draft)).stdout
    done = flask("runs", "start", "a", "upgrade", "--wait")
    assert done.stdout == "a: nothing to do. It is already at r003.\n"


def test_where_none_can_take_part_nothing_is_made(flask: Shell, fleet: Fleet) -> None:
    fleet.add("a")
    flask("databases", "pin", "a", "--reason", "audit", "--days", "2")
    refused = flask("rollouts", "create", "--project", "shop", "--start", code=1)
    assert "No database takes part: 1 pinned: audit." in refused.stderr
    assert flask.json("rollouts", "list")["items"] == []


def test_an_undo_is_shown_before(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(2)
    rollout = fleet.start()
    fleet.drain()
    shown = flask("rollouts", "undo", str(rollout.id), "--dry-run").stdout
    assert "2\tsqlite\tr003\tr001\tr003 r002" in shown
    assert "! r002 drops t2 with all its rows" in shown
    assert shown.endswith("2 databases\n")
    told = flask("runs", "start", "d000", "downgrade", "r001", "--dry-run").stdout
    assert "! r002 drops t2 with all its rows" in told
    assert fleet.stage(rollout) is Stage.SUCCEEDED


def test_a_rehearsal_that_failed_is_told_at_the_start(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(2)
    broken(fleet, "d001")
    draft = str(flask.json("rollouts", "create", "--project", "shop")["id"])
    flask("rollouts", "rehearse", draft)
    fleet.drain()
    for command in ("preview", "show"):
        assert (
            "! In its rehearsal 1 of 2 databases failed."
            in flask("rollouts", command, draft).stderr
        )
    started = flask("rollouts", "start", draft)
    assert "In its rehearsal 1 of 2 databases failed." in started.stderr
    assert re.search(r"It ended \d{4}-\d\d-\d\d \d\d:\d\d", started.stderr)


# --- steps ---------------------------------------------------------------------------------------


def test_the_command_line_approves_nothing(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(2)
    words = ("--project", "shop", "--wave", "1", "--approval", "--start")
    flask("rollouts", "create", *words)
    fleet.drain()
    refused = flask("rollouts", "approve", "1", code=77)
    assert "with a token" in refused.stderr
    _, other = person(Role.OPERATOR)
    rollouts.approve_rollout(other, 1)
    fleet.drain()
    flask("rollouts", "watch", "1")
    told = [
        json.loads(line)
        for line in flask("rollouts", "watch", "1", "--json").stdout.split("\n")
        if line
    ]
    assert [one["wave"] for one in told[-1]["approvals"]] == [1]


def test_what_does_not_fit_its_stage_is_refused(flask: Shell, fleet: Fleet) -> None:
    fleet.add("a")
    flask("rollouts", "create", "--project", "shop")
    refused = flask("rollouts", "resume", "1", code=1)
    assert "Rollout 1 is a draft; `resume` is for one that is paused or halted." in refused.stderr
    assert "There is no rollout 9." in flask("rollouts", "show", "9", code=1).stderr


def test_failed_ones_can_be_left_out(flask: Shell, fleet: Fleet) -> None:
    fleet.add_many(2)
    broken(fleet, "d000")
    flask("rollouts", "create", "--project", "shop", "--wave", "1", "--no-retreat", "--start")
    fleet.drain()
    flask("rollouts", "resume", "1", "--skip-failed")
    fleet.drain()
    done = flask("rollouts", "watch", "1", code=4)
    assert "succeeded, wave 2 of 2, 1 of 2 done, 1 failed." in done.stdout
    assert stands(fleet, "d000", "d001") == ["r001", "r003"]


def test_lists_are_narrowed_and_paged(flask: Shell, fleet: Fleet) -> None:
    fleet.add("a")
    for _ in range(3):
        flask("rollouts", "create", "--project", "shop")
    rollouts.start_rollout(ROOT, 2)
    listed = flask("rollouts", "list", "--stage", "running")
    header, row = listed.stdout.splitlines()
    assert header == "id\ttitle\tkind\ttarget\tstage\twave\tdatabases\tby"
    assert row.startswith("2\t\tupgrade\tr003\trunning\t1 of 1\t1\tcli:")
    page = flask("rollouts", "list", "--limit", "2")
    assert page.stderr == "More: --after 2\n"
    rest = flask.json("rollouts", "list", "--project", "shop", "--after", "2")
    assert [one["id"] for one in rest["items"]] == [1]
