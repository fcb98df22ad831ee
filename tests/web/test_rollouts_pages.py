"""Rollouts in a browser: asked for, foreseen, watched, stopped, mended, taken back."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import pytest
import sqlalchemy as sa

from app.errors import DatabaseNotFound, InputInvalid
from app.extensions import db
from app.fleet import databases, rollouts
from app.fleet.accounts import tokens
from app.fleet.core import places
from app.fleet.reports import run_states
from app.fleet.rollouts import ACTIONS, OPERATIONS, allowed_actions
from app.fleet.rollouts.rules.gates import Check
from app.http import event_stream
from app.models import Database, Kind, Role, Rollout, Run, Stage, State
from app.web import rollout_charts, rollout_form
from headway import Project as Scripts
from headway.pytest_plugin import DatabaseTemplate
from tests.fleet.conftest import person
from tests.fleet.fleets import ROOT, Fleet, broken, fleet_on, fresh, mended, settled
from tests.web.walking import FORGERY, Visitor

REFRESH = 'http-equiv="refresh"'
SENT = re.compile(r'<a id="do-(\w+)"')


@dataclass
class Place:
    """A fleet, and people at browsers."""

    fleet: Fleet
    people: dict[str, Visitor] = field(default_factory=dict)
    made: int = 0

    def somebody(self, name: str = "ada", role: Role = Role.OPERATOR) -> Visitor:
        """Who signed in under this name."""
        if name not in self.people:
            account, _ = person(role, name)
            issued, _ = tokens.issue_token(ROOT, account_id=account.id, name="mine", expires_days=1)
            self.people[name] = Visitor(self.fleet.app, issued.text or "")
        return self.people[name]

    def members(self, count: int, at: str = "r001") -> tuple[str, list[Database]]:
        """New databases of a label of their own, and that label."""
        self.made += 1
        label = f"g{self.made}"
        return label, [
            self.fleet.add(f"{label}-{n}", at, labels={"group": label}) for n in range(count)
        ]

    def asks(self, who: Visitor, label: str, **form: object) -> int:
        """A rollout of those with the label, asked for by the form; its number."""
        answer = press(
            who, "/rollouts/new", project=self.fleet.project_id, label=f"group={label}", **form
        )
        assert answer.status_code == 302, words(answer.text)
        return int(answer.location.rpartition("/")[2])


@pytest.fixture(scope="module")
def place(
    template: Callable[[str], DatabaseTemplate], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("fleet")
    with template("sqlite").copy() as url, fleet_on(url, folder) as fleet:
        yield Place(fleet)


@pytest.fixture
def ada(place: Place) -> Visitor:
    return place.somebody()


def press(who: Visitor, path: str, **form: object) -> Any:
    """Send a form with the token against forgery that this browser has."""
    return who.send(path, {FORGERY: who.forgery("/"), **form})


def words(page: str) -> str:
    """What a person reads of a page, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def refusal(who: Visitor, **form: object) -> str:
    """What the form of a new rollout says to this."""
    answer = press(who, "/rollouts/new", **form)
    assert answer.status_code in (404, 409, 422)
    found = re.search(r'role="alert" id="error">(.*?)</div>', answer.text, re.DOTALL)
    assert found
    return words(found[1])


# --- the story -------------------------------------------------------------------------------


def test_a_rollout_from_its_preview_to_its_undo(place: Place, ada: Visitor) -> None:
    label, members = place.members(5)
    broken(place.fleet, members[2])
    number = place.asks(ada, label, waves="1, 100%", title="third")
    at = f"/rollouts/{number}"
    page = ada.get(at).text
    assert "5 databases, in waves of 1, 4" in words(page)
    assert "5 sqlite databases from r001 to r003" in words(page)
    assert "CREATE TABLE t3" in page
    assert 'aria-label="2 waves of 1, 4 databases; between them: none may fail"' in page
    assert REFRESH not in page
    assert "The first wave begins: 1 of 5 databases." in words(ada.get(f"{at}/start").text)
    assert press(ada, f"{at}/start").location == at
    page = ada.get(at).text
    assert f'<noscript><meta {REFRESH} content="3"></noscript>' in page
    assert "0 of 5" in words(page)
    place.fleet.drain()
    page = ada.get(at).text
    assert REFRESH not in page
    assert "halted" in words(page)
    assert "The first error" in words(page)
    assert f"{label}-2" in page
    assert "table t2 already exists" in page
    assert re.search(r"<summary>The SQL that was sent</summary>|<summary>Its log</summary>", page)
    assert SENT.findall(page) == ["resume", "cancel", "undo"]
    resume = words(ada.get(f"{at}/resume").text)
    assert "1 failed database" in resume
    assert "checked" not in ada.get(f"{at}/resume").text, "what to do is chosen by the person"
    assert "checked" in ada.get(f"{at}/resume?skip=1").text
    choices = words(page)
    assert "Leave it. Nothing runs. 2 databases are migrated, 3 are not" in choices
    assert "1 failed database is tried again, and 2 waiting follow" in choices
    assert f"Skip {label}-2. 1 failure is allowed from now on" in choices
    assert "2 sqlite databases go back from r003 to r001" in choices
    mended(members[2])
    press(ada, f"{at}/resume")
    place.fleet.drain()
    assert re.search("Started [^.]*, ended just now", words(ada.get(at).text))
    assert "succeeded" in words(ada.get(at).text)
    page = ada.get(f"{at}/undo").text
    assert "5 sqlite databases go back from r003 to r001" in words(page)
    assert "r002 drops t2 with all its rows" in words(page)
    for wrong in ("", "2x", f"{number}0"):
        refused = press(ada, f"{at}/undo", confirm=wrong)
        assert refused.status_code == 422
        assert f"type its number, {number}" in words(refused.text)
    assert {place.fleet.at(one) for one in members} == {"r003"}
    press(ada, f"{at}/undo", confirm=str(number))
    assert "Undone" in words(ada.get(at).text)
    place.fleet.drain()
    assert "undone" in words(ada.get(at).text)
    assert {place.fleet.at(one) for one in members} == {"r001"}


def test_those_that_failed_can_be_left_as_they_are(place: Place, ada: Visitor) -> None:
    label, members = place.members(3)
    broken(place.fleet, members[1])
    number = place.asks(ada, label, waves="100%")
    press(ada, f"/rollouts/{number}/start")
    place.fleet.drain()
    press(ada, f"/rollouts/{number}/resume", skip_failed="1")
    place.fleet.drain()
    page = ada.get(f"/rollouts/{number}").text
    assert "succeeded" in words(page)
    assert SENT.findall(page) == ["retry", "undo"]
    assert "succeeded, 1 failed" in words(page)
    assert "succeeded, 1 failed" in words(ada.get("/rollouts/?stage=succeeded").text)
    mended(members[1])
    press(ada, f"/rollouts/{number}/retry")
    place.fleet.drain()
    page = ada.get(f"/rollouts/{number}").text
    assert SENT.findall(page) == ["undo"]
    assert "succeeded, 1 failed" not in words(page)
    assert {place.fleet.at(one) for one in members} == {"r003"}


def test_what_could_not_be_taken_back_is_tried_again(place: Place, ada: Visitor) -> None:
    label, members = place.members(2)
    at = f"/rollouts/{place.asks(ada, label, target='r002', waves='100%')}"
    press(ada, f"{at}/start")
    place.fleet.drain()
    moved = Scripts.load(place.fleet.scripts).at(members[0].address)
    moved.upgrade("r003")
    press(ada, f"{at}/undo", confirm=at.rpartition("/")[2])
    assert "No further run begins. 2 wait" in words(ada.get(f"{at}/pause").text)
    place.fleet.drain()
    page = ada.get(at).text
    assert "Undone 1 of 2" in words(page)
    assert "Not undone 1" in words(page)
    assert SENT.findall(page) == ["retry", "cancel", "undo"]
    assert "1 database that could not be undone is tried again" in words(
        ada.get(f"{at}/retry").text
    )
    moved.downgrade("r002")
    press(ada, f"{at}/retry")
    place.fleet.drain()
    assert "Undone 2 of 2" in words(ada.get(at).text)
    assert {place.fleet.at(one) for one in members} == {"r001"}


def test_a_rehearsal_is_shown_and_changes_nothing(place: Place, ada: Visitor) -> None:
    label, members = place.members(3)
    broken(place.fleet, members[1])
    number = place.asks(ada, label)
    at = f"/rollouts/{number}"
    assert "on copies of the 3 databases" in words(ada.get(f"{at}/rehearse").text)
    press(ada, f"{at}/rehearse", sample="0", back=at)
    assert "whole number from 1" in words(ada.get(at).text)
    press(ada, f"{at}/rehearse", sample="")
    page = ada.get(at).text
    assert "Rehearsing on copies: 0 of 3" in words(page)
    assert REFRESH in page
    place.fleet.drain()
    page = ada.get(at).text
    assert "1 of 3 would fail. Nothing was changed." in words(page)
    assert f"The first error in the rehearsal {label}-1" in words(page)
    assert "table t2 already exists" in page
    assert {place.fleet.at(one) for one in members} == {"r001"}
    mended(members[1])
    press(ada, f"{at}/start")
    for _ in range(2):
        assert "table t2 already exists" not in ada.get(at).text
        place.fleet.drain()
    assert "succeeded" in words(ada.get(at).text)


def test_a_wave_soaks_and_another_account_approves(place: Place, ada: Visitor) -> None:
    label, _ = place.members(2)
    number = place.asks(ada, label, waves="1, 100%", approval="1", soak="7200")
    at = f"/rollouts/{number}"
    press(ada, f"{at}/start")
    place.fleet.drain()
    assert "the next wave may begin in 2 hours" in words(ada.get(at).text)
    with db.engine.begin() as connection:
        gate = rollouts.get_rollout(ROOT, number).gate | {"soak_seconds": 0}
        connection.execute(sa.update(Rollout).where(Rollout.id == number).values(gate=gate))
    place.fleet.drain()
    page = words(ada.get(at).text)
    assert "ada created this rollout. Sign in as another operator" in page
    assert "Time left" not in page
    assert "another account has to approve it" in words(ada.get(f"{at}/approve").text)
    bob = place.somebody("bob")
    assert "With your approval wave 2 begins, of 1" in words(bob.get(f"{at}/approve").text)
    press(bob, f"{at}/approve")
    assert "Wave 1 approved bob" in words(ada.get(at).text)
    place.fleet.drain()
    assert "succeeded" in words(ada.get(at).text)


def test_one_that_does_not_answer_is_said_before_and_while_it_is_tried_again(
    place: Place, ada: Visitor
) -> None:
    away = "postgresql://app:x@127.0.0.1:9/away"
    place.fleet.register("away", away, labels={"group": "away"})
    at = f"/rollouts/{place.asks(ada, 'away')}"
    assert "1 database does not answer." in words(ada.get(at).text)
    press(ada, f"{at}/start")
    assert "is tried again" not in words(ada.get(at).text)
    place.fleet.work()
    page = words(ada.get(at).text)
    assert re.search(r"away is tried again in \d s , attempt 2: \S.*127\.0\.0\.1", page)
    press(ada, f"{at}/cancel")
    assert "is tried again" not in words(ada.get(at).text)


def test_a_pause_says_what_runs_and_what_waits(place: Place, ada: Visitor) -> None:
    label, _ = place.members(3)
    number = place.asks(ada, label, waves="1, 100%")
    press(ada, f"/rollouts/{number}/start")
    assert "No further run begins. 3 wait" in words(ada.get(f"/rollouts/{number}/pause").text)
    press(ada, f"/rollouts/{number}/pause")
    assert "Paused by ada." in ada.get(f"/rollouts/{number}").text
    press(ada, f"/rollouts/{number}/cancel")
    assert "not possible while it is cancelled" in words(ada.get(f"/rollouts/{number}/cancel").text)


def test_who_approves_an_undo_sees_what_goes(place: Place, ada: Visitor) -> None:
    label, _ = place.members(2)
    number = place.asks(ada, label, waves="1, 100%", approval=1)
    at = f"/rollouts/{number}"
    press(ada, f"{at}/start")
    place.fleet.drain()
    bea = place.somebody("bea")
    press(bea, f"{at}/approve", wave=1)
    place.fleet.drain()
    assert place.fleet.stage(rollouts.get_rollout(ROOT, number)) is Stage.SUCCEEDED
    undone = words(ada.get(f"{at}/undo").text)
    assert "rehearse it" not in undone  # an undo cannot be rehearsed
    press(ada, f"{at}/undo", confirm=str(number))
    assert place.fleet.stage(rollouts.get_rollout(ROOT, number)) is Stage.WAITING
    asked = words(bea.get(f"{at}/approve").text)
    assert "2 sqlite databases go back from r003 to r001" in asked
    assert "r002 drops t2 with all its rows" in asked
    press(bea, f"{at}/approve", wave=0)
    place.fleet.drain()
    assert place.fleet.stage(rollouts.get_rollout(ROOT, number)) is Stage.UNDONE


# --- the form --------------------------------------------------------------------------------


def test_what_was_typed_is_still_there_after_a_mistake(place: Place, ada: Visitor) -> None:
    form = {"project": place.fleet.project_id, "title": "careful", "label": "a=b", "soak": "soon"}
    assert refusal(ada, **form) == "The time to wait must be a number, not 'soon'."
    page = press(ada, "/rollouts/new", **form).text
    assert re.search(r'name="title"[^>]*value="careful"', page)
    assert re.search(r'name="soak"[^>]*value="soon"[^>]*aria-invalid="true"', page)
    project = place.fleet.project_id
    assert "is not a wave" in refusal(ada, project=project, waves="some")
    assert "needs a query" in refusal(ada, project=project, check="sql")
    times = "From and until are times like 22:00; give both."
    for window in ({"window_from": "22:00"}, {"window_zone": "Mars"}, {"window_day": "sun"}):
        assert refusal(ada, project=project, **window) == times
    assert refusal(
        ada, project=project, window_from="22:00", window_until="04:00", window_zone="Mars"
    ) == ("There is no time zone Mars. Example: Europe/Berlin.")
    assert "no database nobody, nothing" in refusal(ada, project=project, names="nobody\nnothing")
    assert "no account with the address nobody@" in refusal(
        ada, project=project, owner="nobody@example.org"
    )
    assert "no project 99" in refusal(ada, project=99)
    assert "no position" in refusal(ada, project=project, position="nowhere")


def test_what_makes_no_sense_is_refused_with_what_to_type(place: Place, ada: Visitor) -> None:
    project = place.fleet.project_id
    assert refusal(ada, project=project, target="nonsense") == (
        "shop has no revision nonsense. Its heads: r003."
    )
    assert "Ask for a downgrade" in refusal(ada, project=project, target="base")
    assert "waves must grow" in refusal(ada, project=project, waves="50%, 10%")
    assert "begin with SELECT" in refusal(ada, project=project, check="sql", sql="DROP TABLE x")
    assert "'!!' is not a valid name of a label" in refusal(ada, project=project, label="!!")


def test_what_would_come_to_nothing_cannot_be_started(place: Place, ada: Visitor) -> None:
    label, _ = place.members(2, "r003")
    at = f"/rollouts/{place.asks(ada, label, target='r002')}"
    page = ada.get(at).text
    assert "No database takes part, so the rollout cannot be started." in words(page)
    assert "2: already past r002" in words(page)
    assert SENT.findall(page) == ["cancel"]
    live = re.search(r'data-live="([^"]+)"', page)
    assert live
    assert SENT.findall(ada.get(unescape(live[1])).text) == ["cancel"]
    assert "No database would take part." in words(ada.get(f"{at}/start").text)


def test_a_rollout_that_nobody_can_follow_cannot_be_started(place: Place, ada: Visitor) -> None:
    label, _ = place.members(2)
    at = f"/rollouts/{place.asks(ada, label, kind='downgrade', target='r002')}"
    page = ada.get(at).text
    assert "No database can reach the target, so the rollout cannot be started." in words(page)
    assert SENT.findall(page) == ["cancel"]
    assert "No database can reach the target." in words(ada.get(f"{at}/rehearse").text)


def test_every_word_of_the_form_arrives(place: Place) -> None:
    ada = place.somebody("grace", Role.ADMIN)  # the query of a check is an admin's
    label, members = place.members(3)
    account, _ = person(Role.VIEWER, "the owner")
    number = place.asks(
        ada,
        label,
        title="all of it",
        target="r002",
        names=f"{members[0].name}\n{members[2].id}, ",
        position=["behind", "at_head"],
        search=label,
        owner=str(account.id),
        waves="1 50%, 100%",
        failures="2",
        failures_percent="2.5",
        soak="1.5",
        check="sql",
        sql="SELECT 1",
        window_from="22:00",
        window_until="04:00",
        window_day=["sun", "sat"],
        window_zone="Europe/Berlin",
        concurrency="3",
        per_server="2",
        timeout="9.5",
        snapshot="1",
        stay="1",
    )
    made = rollouts.get_rollout(ROOT, number)
    assert made.selector == {
        "project_id": place.fleet.project_id,
        "ids": [members[0].id, members[2].id],
        "labels": {"group": label},
        "owner_id": account.id,
        "positions": ["behind", "at_head"],
        "search": label,
    }
    assert made.gate["failures_percent"] == 2.5
    assert (made.gate["failures"], made.gate["soak_seconds"], made.gate["sql"]) == (
        *(2, 1.5),
        "SELECT 1",
    )
    assert made.window == {
        "from": "22:00",
        "until": "04:00",
        "days": ["sat", "sun"],
        "zone": "Europe/Berlin",
    }
    assert (made.concurrency, made.per_server, made.timeout_seconds) == (3, 2, 9.5)
    assert (made.snapshot, made.retreat, made.target) == (True, False, "r002")
    page = words(ada.get(f"/rollouts/{number}").text)
    assert f"behind; at head; group={label}; 2 selected databases; of account {account.id};" in page
    assert (
        "2 may fail, or 2.5 % of those begun; a query checks each database; a wait of 1.5 s" in page
    )
    with place.fleet.app.test_request_context():
        again = rollout_form.rollout_values(ROOT, rollout_form.like(made))
    assert again["selector"] == {k: v for k, v in made.selector.items() if k != "project_id"}
    assert again["gate"] | {"check": "sql"} == {k: v for k, v in made.gate.items() if v is not None}
    assert again["window"] == made.window
    assert again["waves"] == made.waves
    assert (again["snapshot"], again["retreat"]) == (True, False)


def test_whatever_a_rollout_can_do_has_its_words() -> None:
    assert set(rollout_form.KINDS) == set(OPERATIONS)
    assert set(rollout_form.CHECKS) == {"", *Check}


def test_a_change_takes_the_place_of_the_first_one(place: Place, ada: Visitor) -> None:
    label, _ = place.members(1)
    before = place.asks(ada, label, title="first")
    page = ada.get(f"/rollouts/new?like={before}&instead={before}").text
    assert f"Change rollout {before}" in page
    assert f'value="group={label}"' in page
    after = place.asks(ada, label, title="second", instead=before)
    assert place.fleet.stage(rollouts.get_rollout(ROOT, before)) is Stage.CANCELLED
    assert place.fleet.stage(rollouts.get_rollout(ROOT, after)) is Stage.PENDING


def test_every_mistake_is_said_at_its_field_at_once(place: Place, ada: Visitor) -> None:
    form = {
        "project": place.fleet.project_id,
        "target": "r999",
        "waves": "some",
        "soak": "soon",
        "failures": "few",
        "sql": "SELECT 1",
        "window_from": "night",
        "names": "nobody",
        "concurrency": "0",
    }
    said = {
        "names": "no database nobody",
        "failures": "Allowed failures",
        "soak": "must be a number",
        "target": "has no revision r999",
        "waves": "'some' is not a wave",
        "sql": "needs a query",
        "window_from": "times like 22:00",
        "concurrency": "a number from 1 to",
    }
    answer = press(ada, "/rollouts/new", **form)
    assert answer.status_code == 422
    at_fields = dict(re.findall(r'id="error-(\w+)">(.*?)</small>', answer.text))
    assert set(at_fields) == set(said)
    for name, text in said.items():
        assert text in words(at_fields[name])
        assert f'<a href="#{name}">' in answer.text
        assert re.search(rf'id="{name}"[^>]*aria-describedby="error-{name}"', answer.text)
    assert "8 values have to be corrected" in words(answer.text)
    assert answer.text.count("<details") == len(re.findall(r"<details[^>]* open>", answer.text)) + 1
    drawn = press(ada, "/rollouts/new/waves", **form)
    assert drawn.status_code == 200
    assert drawn.text.count("<li>") == len(said)


def test_the_waves_are_drawn_while_the_form_is_filled_in(place: Place, ada: Visitor) -> None:
    label, _ = place.members(5)
    form = {"project": place.fleet.project_id, "label": f"group={label}"}
    before = rollouts.list_rollouts(ROOT, limit=1)[0]
    page = press(ada, "/rollouts/new/waves", **form, waves="1, 60%").text
    assert "5 databases would take part now, in 3 waves." in words(page)
    assert 'aria-label="3 waves of 1, 2, 2 databases; between them: none may fail"' in page
    page = press(ada, "/rollouts/new/waves", **form, target="r001").text
    assert "No database would take part now." in words(page)
    assert (
        press(place.somebody("eve", Role.VIEWER), "/rollouts/new/waves", **form).status_code == 200
    )
    assert rollouts.list_rollouts(ROOT, limit=1)[0] == before


def test_a_new_one_begins_with_the_settings_of_the_last_one(place: Place, ada: Visitor) -> None:
    label, _ = place.members(2)
    settings = {"waves": "1, 50%, 100%", "failures": 2, "soak": "0.5", "window_day": ["sat", "sun"]}
    window = {"window_from": "00:00", "window_until": "23:59", "window_zone": "Europe/Berlin"}
    number = place.asks(ada, label, title="once", **settings, **window, snapshot=1, concurrency=3)
    assert f"rollout {number}" not in words(ada.get("/rollouts/new").text)  # a draft is no habit
    press(ada, f"/rollouts/{number}/start")
    page = ada.get("/rollouts/new").text
    assert f"Waves, gate and safety are as in rollout {number} , the last one of" in words(page)
    for name, value in {**settings, **window, "concurrency": 3, "title": "", "label": ""}.items():
        if isinstance(value, list):
            chosen = re.findall(rf'name="{name}" value="(\w+)" checked', page)
            assert chosen == value
        else:
            assert re.search(rf'name="{name}"[^>]*value="{value}"', page), name
    assert re.search(r'name="snapshot" value="1" checked', page)
    check = ada.get("/rollouts/new?kind=check&waves=100%25").text
    assert "are as in rollout" not in words(check)
    assert re.search(r'name="waves"[^>]*value="100%"', check)
    press(ada, f"/rollouts/{number}/cancel")


def test_a_list_leads_here_with_what_it_chose(place: Place, ada: Visitor) -> None:
    page = ada.get("/rollouts/new?database=1&database=2&project=1").text
    assert "2 databases are selected." in words(page)
    assert "that match these filters" not in words(page)
    _, (one,) = place.members(1)
    page = words(ada.get(f"/rollouts/new?database={one.id}").text)
    assert f"{one.name} is selected." in page
    page = ada.get("/rollouts/new?position=behind&label=tier=gold&current=r001").text
    assert re.search(r'value="behind" checked', page)
    assert 'value="tier=gold"' in page
    assert "Databases at r001 ." in words(page)


def test_pasted_names_are_found_or_told() -> None:
    with pytest.raises(InputInvalid):
        databases.ids_of(ROOT, 1, [f"d{n}" for n in range(databases.MOST + 1)])


def test_thousands_of_pasted_names_are_one_choice(place: Place) -> None:
    project = place.fleet.project_id
    _, members = place.members(2)
    assert databases.ids_of(ROOT, project, [one.name for one in members] * 2) == [
        one.id for one in members
    ]
    missing = [members[0].name, *(f"no-{n}" for n in range(1500))]
    with pytest.raises(DatabaseNotFound, match="no-0, no-1, "):
        databases.ids_of(ROOT, project, missing)


# --- who may, and what -----------------------------------------------------------------------


def test_a_viewer_sees_all_and_presses_nothing(place: Place, ada: Visitor) -> None:
    label, _ = place.members(2)
    number = place.asks(ada, label)
    eve = place.somebody("eve", Role.VIEWER)
    page = eve.get(f"/rollouts/{number}").text
    assert "2 sqlite databases" in words(page)
    assert not SENT.findall(page)
    assert "Change it" not in page
    assert "Your role, viewer, can only read" in words(eve.get("/rollouts/new").text)
    assert "An operator can do this" in words(eve.get(f"/rollouts/{number}/start").text)
    assert "New rollout" not in words(eve.get("/rollouts/").text)
    for verb in ("start", "rehearse", "cancel", "undo", "pause", "resume", "retry", "approve"):
        assert press(eve, f"/rollouts/{number}/{verb}").status_code == 403
    assert press(eve, "/rollouts/new", project=place.fleet.project_id).status_code == 403
    assert place.fleet.stage(rollouts.get_rollout(ROOT, number)) is Stage.PENDING


def test_what_is_offered_is_what_is_taken(place: Place) -> None:
    """Whatever the stage: a button never leads to a refusal, and no way is missing."""
    label, _ = place.members(2)
    actor = person(Role.OPERATOR, "kim")[1]
    use_cases = {
        "start": rollouts.start_rollout,
        "rehearse": rollouts.rehearse_rollout,
        "pause": rollouts.pause_rollout,
        "cancel": rollouts.cancel_rollout,
        "resume": rollouts.resume_rollout,
        "undo": rollouts.undo_rollout,
    }
    steps = ("start", "pause", "resume", "drain", "undo", "pause", "resume", "drain")
    made = place.fleet.rollout(selector={"labels": {"group": label}})
    seen = set()
    for step in steps:
        rollout = rollouts.get_rollout(ROOT, made.id)
        seen.add(rollout.stage)
        offered = allowed_actions(actor, rollout)
        if step == "drain":
            place.fleet.drain()
            continue
        assert step in offered
        use_cases[step](actor, made.id)
    assert allowed_actions(actor, rollouts.get_rollout(ROOT, made.id)) == ()
    assert seen >= {"pending", "running", "paused", "succeeded", "undoing"}
    assert set(ACTIONS) == set(Stage)


# --- one, live -------------------------------------------------------------------------------


def test_the_part_that_changes_is_a_part_of_the_page(place: Place, ada: Visitor) -> None:
    label, _ = place.members(2)
    number = place.asks(ada, label)
    press(ada, f"/rollouts/{number}/start")
    part, page = (ada.get(f"/rollouts/{number}{more}").text for more in ("?part=live", ""))
    assert "<html" not in part
    ids = re.findall(r'<\w+ id="([\w-]+)" data-part', part)
    assert ids == re.findall(r'<\w+ id="([\w-]+)" data-part', page)
    assert 'data-stage="running"' in part
    assert "data-goes-on" in part
    assert f'data-says="Rollout {number} is running."' in part
    assert 'aria-live="polite"' not in part
    assert page.count("aria-live") == 1
    place.fleet.drain()
    assert "data-goes-on" not in ada.get(f"/rollouts/{number}?part=live").text


def test_the_session_follows_a_rollout(
    place: Place, ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "POLL_SECONDS", 0.0)
    label, _ = place.members(2)
    number = place.asks(ada, label)
    press(ada, f"/rollouts/{number}/start")
    place.fleet.drain()
    answer = ada.get(f"/rollouts/{number}/events")
    assert answer.mimetype == "text/event-stream"
    events = re.findall(r"event: (\w+)\nid: (\S+)\ndata: (.*)\n", answer.text)
    assert [name for name, _, _ in events] == ["progress", "end"]
    assert json.loads(events[0][2])["stage"] == "succeeded"
    seen = {"Last-Event-ID": events[1][1]}
    assert ada.client.get(f"/rollouts/{number}/events", headers=seen).status_code == 204
    stranger = Visitor(place.fleet.app)
    assert stranger.get(f"/rollouts/{number}/events").status_code == 302
    assert ada.get("/rollouts/999/events").status_code == 404


def test_few_follow_at_once_and_the_page_does_without(place: Place, ada: Visitor) -> None:
    label, _ = place.members(1)
    number = place.asks(ada, label)
    press(ada, f"/rollouts/{number}/start")
    with ExitStack() as taken:
        for caller in range(places.FOLLOWING.most):
            taken.enter_context(places.FOLLOWING.take(f"other {caller}"))
        refused = ada.get(f"/rollouts/{number}/events")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "4")
        assert ada.get(f"/rollouts/{number}?part=live").status_code == 200
    press(ada, f"/rollouts/{number}/cancel")


def test_the_databases_of_a_rollout_page_by_page(
    place: Place, ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.rollouts.PAGE", 2)
    label, members = place.members(5)
    broken(place.fleet, members[4])
    number = place.asks(ada, label, waves="2, 100%", failures="1")
    press(ada, f"/rollouts/{number}/start")
    place.fleet.drain()
    found, path = [], f"/rollouts/{number}/databases"
    while path:
        page = ada.get(path).text
        found += re.findall(rf">({label}-\d)</a>", page)
        following_ = re.search(r'href="([^"]+)">Next page', page)
        path = unescape(following_[1]) if following_ else ""
    assert found == [one.name for one in members]
    page = ada.get(f"/rollouts/{number}/databases?state=failed").text
    assert re.findall(rf">({label}-\d)</a>", page) == [members[4].name]
    assert "table t2 already exists" in page
    run = re.search(r'href="(/databases/\d+/runs/\d+)"', page)
    assert run
    assert "table t2 already exists" in ada.get(run[1]).text
    page = ada.get(f"/rollouts/{number}/databases?place=3").text
    assert re.findall(rf">({label}-\d)</a>", page) == [one.name for one in members[3:]]
    assert "There are no databases that are running" in words(
        ada.get(f"/rollouts/{number}/databases?state=running").text
    )
    for wrong in ("state=odd", "kind=check"):
        assert ada.get(f"/rollouts/{number}/databases?{wrong}").status_code == 422
    assert ada.get(f"/rollouts/{number}/databases?after=x.y&place=-1").status_code == 200


def test_what_to_know_before_is_shown_before(place: Place, ada: Visitor) -> None:
    label, _ = place.members(2, "r002")
    number = place.asks(ada, label, kind="downgrade", target="r001")
    assert "⚠ drops t2 with all its rows" in words(ada.get(f"/rollouts/{number}").text)


def test_rollouts_are_listed_by_stage(place: Place, ada: Visitor) -> None:
    label, _ = place.members(1)
    number = place.asks(ada, label, title="to be listed")
    assert f"{number}: to be listed" in words(ada.get("/rollouts/?stage=pending").text)
    assert f"{number}: to be listed" not in words(ada.get("/rollouts/?stage=running").text)
    press(ada, f"/rollouts/{number}/cancel")
    page = words(ada.get(f"/rollouts/{number}").text)
    assert re.search(r"Ended just now \([0-9-]{10} [0-9:]{5} UTC\), never started\.", page)
    ended = {"limit": 1, "stages": [Stage.CANCELLED]}
    assert rollouts.list_rollouts(ROOT, **ended)[0][0].id == number  # type: ignore[arg-type]
    begun, _ = rollouts.list_rollouts(ROOT, begun=True, **ended)  # type: ignore[arg-type]
    assert number not in {one.id for one in begun}
    assert ada.get("/rollouts/?stage=odd").status_code == 422


# --- figures ---------------------------------------------------------------------------------


def covered(path: str) -> set[tuple[int, int]]:
    """The cells that an outline encloses; each of them once."""
    found: list[tuple[int, int]] = []
    for x, y, wide, high in re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)h-\d+z", path):
        found += [(int(x) + i, int(y) + j) for i in range(int(wide)) for j in range(int(high))]
    assert len(found) == len(set(found))
    return set(found)


@pytest.mark.parametrize("count", [1, 2, 7, 40, 997, 10_000])
def test_every_database_has_its_cell(count: int) -> None:
    states = tuple(rollout_charts.STATES[(n * n // 11) % 6 if n % 5 else 0] for n in range(count))
    grid = rollout_charts.grid(run_states.RunStates(states=states, each=1, total=count))
    places = {state: set[tuple[int, int]]() for state in grid.paths}
    for n, state in enumerate(states):
        places[state].add((n % grid.columns, n // grid.columns))
    assert {state: covered(path) for state, path in grid.paths.items()} == places
    assert sum(grid.counts.values()) == count
    assert grid.rows == max(y for cells_ in places.values() for _, y in cells_) + 1


def test_of_more_than_can_be_read_a_cell_shows_what_matters(
    place: Place, ada: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_states, "MOST", 4)
    label, members = place.members(7)
    broken(place.fleet, members[3])
    number = place.asks(ada, label, waves="100%", failures="1")
    press(ada, f"/rollouts/{number}/start")
    place.fleet.drain()
    found = run_states.run_states(ROOT, number)
    assert (found.each, found.total) == (2, 7)
    assert found.states == ("succeeded", "failed", "succeeded", "succeeded")
    assert "One cell is 2 databases" in words(ada.get(f"/rollouts/{number}").text)


def test_a_wave_of_one_is_still_seen() -> None:
    bars = rollout_charts.bars([1, 499, 9500])
    assert [bar.size for bar in bars] == [1, 499, 9500]
    assert min(bar.width for bar in bars) > rollout_charts.WIDTH / 10
    assert bars[0].width < bars[1].width < bars[2].width
    assert bars[-1].x + bars[-1].width == pytest.approx(rollout_charts.WIDTH, abs=1)
    assert rollout_charts.bars(()) == []


def test_ten_thousand_databases_are_a_small_page(place: Place, ada: Visitor) -> None:
    label, members = place.members(1)
    number = place.asks(ada, label)
    press(ada, f"/rollouts/{number}/start")
    place.fleet.drain()
    with db.engine.begin() as connection:
        connection.execute(
            sa.insert(Run),
            [
                {
                    "rollout_id": number,
                    "database_id": members[0].id,
                    "kind": Kind.UPGRADE,
                    "wave": 0,
                    "seq": seq,
                    "state": list(State)[seq * seq % 7 % 6],
                }
                for seq in range(1, 10_000)
            ],
        )
        some = sa.update(Rollout).where(Rollout.id == number)
        connection.execute(some.values(sizes=[10_000]))
    settled()
    fresh()
    answer = ada.get(f"/rollouts/{number}")
    assert "10,000" in words(answer.text)
    assert len(gzip.compress(answer.data)) < 100_000
