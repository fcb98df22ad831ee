"""The audit trail in sentences: who did what, and what it changed."""

import re
from pathlib import Path

import pytest

from app.fleet import databases, projects, rollouts
from app.fleet.core import audit
from app.models import Event, Role
from app.web import event_sentences
from tests.fleet.conftest import ROOT, person
from tests.fleet.fleets import Fleet, broken

APP = Path(event_sentences.__file__).parents[1]


def sentences() -> list[str]:
    """What the trail says, oldest first."""
    events, _ = audit.list_events(ROOT, limit=100)
    return [f"{one.actor_name} {event_sentences.did(one)}" for one in reversed(events)]


def last() -> Event:
    return audit.list_events(ROOT, limit=1)[0][0]


def test_what_people_did_is_said_as_they_would_say_it(fleet: Fleet) -> None:
    (_, ada), (_, bob) = person(Role.ADMIN, "Ada"), person(Role.OPERATOR, "Bob")
    members = fleet.add_many(4)
    broken(fleet, members[2])
    asked = {"project_id": fleet.project_id, "waves": ["1", "100%"], "gate": {"approval": True}}
    rollout, _ = rollouts.create_rollout(ada, asked)
    rollouts.start_rollout(ada, rollout.id)
    fleet.drain()
    rollouts.approve_rollout(bob, rollout.id)
    fleet.drain()
    rollouts.resume_rollout(ada, rollout.id, skip_failed=True)
    assert event_sentences.changes(last())["allowed_failures"] == [0, 1]
    assert event_sentences.changes(last())["stage"] == ["halted", "running"]
    fleet.drain()
    rollouts.undo_rollout(bob, rollout.id)
    databases.change_database(ada, members[0].id, {"name": "new"}, version=None)
    assert event_sentences.changes(last()) == {"name": ["d000", "new"]}
    projects.change_project(ada, fleet.project_id, {"notes": "n"}, version=None)
    said = sentences()
    assert said[-7:] == [
        "Ada created rollout 1",
        "Ada started rollout 1",
        "Bob approved wave 1 of rollout 1",
        "Ada resumed rollout 1, skipping 1 failed",
        "Bob asked to undo rollout 1",
        f"Ada changed database {members[0].id}",
        "Ada changed project 1",
    ]


@pytest.mark.parametrize("action", sorted(event_sentences.DID))
def test_an_event_of_an_older_release_is_told_too(action: str) -> None:
    """Without any of its details."""
    kind = {"databases": "project", "secrets": "catalog"}.get(action.partition(".")[0])
    event = Event(
        action=action, subject_type=kind or action.partition(".")[0], subject_id=7, detail={}
    )
    assert re.fullmatch(r"[a-zA-Z0-9 ,-]+", event_sentences.did(event))


def test_every_sentence_is_of_an_action_that_there_is() -> None:
    texts = "".join(path.read_text() for path in (APP / "fleet").rglob("*.py"))
    for action in event_sentences.DID:
        word = action.rpartition(".")[2]
        assert f'"{action}"' in texts or f'"{word}"' in texts, action
