"""What webhooks are sent of a rollout: where it stands, how far it came, what failed first."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from flask import g, url_for
from sqlalchemy.engine import URL

from app.extensions import db
from app.fleet import databases, drift, rollouts, webhooks
from app.fleet.core import visibility
from app.fleet.core.transactions import writing
from app.fleet.rollouts import announcements
from app.fleet.rollouts.progress import progress
from app.fleet.webhooks.formats import LONGEST, MessageFormat, body_of
from app.models import Delivery, Rollout, Stage
from tests.fleet.fleets import ROOT, Fleet, broken, fleet_on, fresh, mended
from tests.receiver import Receiver, receiving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "watching.md"
PLACE = "https://headway.example.org"
NONE = dict.fromkeys(("done", "failed", "running", "pending", "cancelled", "lost"), 0)
HOSTILE = "<!channel> *[x](evil.example)* <@U1> & <evil.example|co>"
"""A name of a database that wants to be a link and a mention, in Slack and in Teams."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as it:
        yield it


@pytest.fixture
def public(migrated_url: URL, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet that people reach at an address."""
    with fleet_on(migrated_url, tmp_path, public_url=PLACE) as made:
        yield made


def hook(receiver: Receiver, message_format: str = "json", *events: str) -> int:
    """A webhook whose messages arrive at the path of its format."""
    values = {"name": "w", "url": f"{receiver.url}/{message_format}?token=t0p", "events": events}
    return webhooks.create_webhook(ROOT, values | {"format": message_format})[0].webhook.id


def heard(receiver: Receiver) -> dict[str, Any]:
    """Format -> the body that came last."""
    webhooks.deliver()
    return {
        one.path.partition("?")[0].strip("/"): json.loads(one.body)
        for one in receiver.heard
        if one.headers["webhook-signature"].startswith("v1,")
        and one.headers["content-type"] == "application/json"
    }


def halt(fleet: Fleet) -> Rollout:
    """A rollout that stops in its second wave: a database failed, and one was done."""
    fleet.add("d001")
    broken(fleet, fleet.add("d002"))
    fleet.add("d003")
    rollout = fleet.start(waves=["1", "2", "100%"], title="paid")
    fleet.drain()
    assert fleet.stage(rollout) is Stage.HALTED
    return rollouts.get_rollout(ROOT, rollout.id)


def texts(body: Any) -> list[str]:
    """All texts that Slack or Teams would show, by themselves."""
    if isinstance(body, dict):
        shown = [body["text"]] if isinstance(body.get("text"), str) else []
        return shown + [text for value in body.values() for text in texts(value)]
    return [text for one in body for text in texts(one)] if isinstance(body, list) else []


def examples() -> list[dict[str, Any]]:
    """The bodies that the page shows: the event, and the same for Slack and for Teams."""
    blocks = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return [json.loads(block) for block in blocks[:3]]


def test_a_rollout_that_halts_says_what_happened_in_each_format(
    public: Fleet, receiver: Receiver
) -> None:
    for message_format in MessageFormat:
        hook(receiver, message_format, "rollout.halted")
    rollout = halt(public)
    with public.app.test_request_context():
        link = PLACE + url_for("web.rollouts.show", rollout_id=rollout.id)
    now = progress(ROOT, rollout.id)
    says = f"Rollout {rollout.id} is halted. {rollout.reason}"
    error = "A revision failed (migration-failed)."
    assert "1 of 3 failed up to wave" in says
    bodies = heard(receiver)
    assert bodies["json"]["event"] == "rollout.halted"
    data = bodies["json"]["data"]
    states = ("failed", "running", "pending", "cancelled", "lost")
    by_state = {state: sum(getattr(wave, state) for wave in now.waves) for state in states}
    assert data["counts"] == {"done": now.done, **by_state, "total": now.total}
    assert (now.done, by_state["failed"], by_state["pending"]) == (1, 1, 1)
    assert (data["link"], data["says"], data["undo"]) == (link, says, None)
    assert (data["rollout"], data["project_name"], data["title"]) == (rollout.id, "shop", "paid")
    assert now.first_error
    assert data["first_error"] == {
        "run": now.first_error.run_id,
        "database_id": now.first_error.database_id,
        "database": "d002",
        "before": "r001",
        "aim": "r003",
        "error": error,
    }
    example, *_ = examples()
    assert example["data"].keys() == data.keys()
    assert example["data"]["counts"].keys() == data["counts"].keys()
    lines = [
        says,
        "1 of 3 done, 1 failed, 1 pending.",
        "First error: d002 at r001, to r003.",
    ]
    opens = f"Open rollout {rollout.id}"
    slack = bodies["slack"]
    assert texts(slack["blocks"]) == ["*shop: paid*", *lines, f"<{link}|{opens}>"]
    assert slack["text"] == f"shop: paid: {says}"
    assert {block["type"] for block in slack["blocks"]} == {"section"}
    assert all(block["text"]["verbatim"] for block in slack["blocks"])
    assert bodies["teams"]["type"] == "message"
    (attachment,) = bodies["teams"]["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.2")
    assert texts(card["body"]) == ["shop: paid", *lines]
    assert card["actions"] == [{"type": "Action.OpenUrl", "title": opens, "url": link}]
    for text in (json.dumps(bodies), *(one.body.decode() for one in receiver.heard)):
        assert "t0p" not in text
        assert "already exists" not in text, "what a database says is for operators"
    assert len(receiver.heard) == 3


def test_without_a_public_url_there_is_no_link(fleet: Fleet, receiver: Receiver) -> None:
    for message_format in MessageFormat:
        hook(receiver, message_format, "rollout.started")
    fleet.add("a")
    fleet.start()
    bodies = heard(receiver)
    assert bodies["json"]["data"]["link"] is None
    assert bodies["json"]["data"]["first_error"] is None
    assert bodies["json"]["data"]["counts"] == NONE | {"pending": 1, "total": 1}
    assert texts(bodies["slack"]["blocks"]) == [
        "*shop: upgrade to r003*",
        "Rollout 1 is running.",
        "0 of 1 done, 0 failed, 1 pending.",
    ]
    assert "actions" not in bodies["teams"]["attachments"][0]["content"]


def test_a_name_is_no_link_and_no_mention(fleet: Fleet, receiver: Receiver) -> None:
    for message_format in ("slack", "teams"):
        hook(receiver, message_format, "rollout.halted", "drift.found")
    path = fleet.file("hostile")
    broken(fleet, one := fleet.register(HOSTILE, f"sqlite:///{path}"))
    fleet.start()
    fleet.drain()
    drift.store_differences(
        databases.get_database(ROOT, one.id), [(f"{HOSTILE} <https://evil.example|here>", None)]
    )
    webhooks.deliver()
    assert len(receiver.heard) == 6  # it halts, and is compared at once; then another difference
    for message in receiver.heard:
        body = json.loads(message.body)
        if "slack" in message.path:
            shown = texts(body)
            assert not [text for text in shown if "<" in text or ">" in text]
            assert any(
                "&lt;!channel&gt; *[x](evil.example)* &lt;@U1&gt; &amp; " in text for text in shown
            )
            continue
        card = body["attachments"][0]["content"]
        assert any(HOSTILE in text for text in texts(card))
        for paragraph in card["body"]:  # only these read no Markdown
            assert paragraph["type"] == "RichTextBlock"
            assert [one["type"] for one in paragraph["inlines"]] == ["TextRun"]
        assert "entities" not in card["msteams"]


def test_a_further_attempt_says_what_the_first_one_said(fleet: Fleet, receiver: Receiver) -> None:
    hook(receiver, "json", "rollout.halted")
    hook(receiver, "slack", "rollout.halted")
    rollout = halt(fleet)
    receiver.status = 503
    webhooks.deliver()
    (failed,) = fleet.runs_of(rollout, states=["failed"])
    mended(databases.get_database(ROOT, failed.database_id))
    rollouts.resume_rollout(ROOT, rollout.id)
    fleet.drain()
    assert fleet.stage(rollout) is Stage.SUCCEEDED
    with writing() as session:
        for one in session.scalars(sa.select(Delivery)):
            one.next_at -= timedelta(minutes=1)
    receiver.status = 200
    assert webhooks.deliver() == 2
    bodies = sorted(one.body for one in receiver.heard)
    assert bodies[0::2] == bodies[1::2]
    assert len(bodies) == 4


def test_what_was_undone_is_counted_too(fleet: Fleet, receiver: Receiver) -> None:
    hook(receiver, "json", "rollout.undone")
    hook(receiver, "teams", "rollout.undone")
    fleet.add_many(2)
    rollout = fleet.start()
    fleet.drain()
    rollouts.undo_rollout(ROOT, rollout.id)
    fleet.drain()
    bodies = heard(receiver)
    assert bodies["json"]["data"]["undo"] == NONE | {"done": 2, "total": 2}
    card = bodies["teams"]["attachments"][0]["content"]
    assert "2 of 2 undone, 0 failed, 0 pending." in texts(card)


def test_an_event_that_no_webhook_wants_costs_one_query(fleet: Fleet, receiver: Receiver) -> None:
    fleet.add("a")
    rollout = fleet.start()
    fleet.drain()
    sent: list[str] = []

    def count(*told: Any) -> None:
        sent.append(told[2])

    def announced() -> list[str]:
        with writing() as session:
            found = rollouts.find(session, rollout.id)
            sent.clear()
            announcements.announce(session, "rollout.finished", found)
            return list(sent)

    hook(receiver, "json", "rollout.halted")
    sa.event.listen(db.engine, "before_cursor_execute", count)
    try:
        (only,) = announced()
        hook(receiver, "json", "rollout.finished")
        assert len(announced()) > 3
    finally:
        sa.event.remove(db.engine, "before_cursor_execute", count)
    assert "FROM webhook" in only


def test_an_event_in_the_request_of_a_member_shows_it_no_more(
    fleet: Fleet, receiver: Receiver
) -> None:
    hook(receiver, "json", "rollout.started")
    fleet.add("a")
    rollout = fleet.start()
    with fleet.app.app_context():
        visibility.narrow_to(frozenset({fleet.project_id}))
        with writing() as session:
            found = rollouts.find(session, rollout.id)
            announcements.announce(session, "rollout.started", found)
        assert g.sees == {fleet.project_id}
        db.session.remove()
    fresh()
    assert webhooks.deliver() == 2


def test_a_test_is_sent_in_the_format(fleet: Fleet, receiver: Receiver) -> None:
    for message_format in MessageFormat:
        assert webhooks.try_webhook(ROOT, hook(receiver, message_format)).state == "delivered"
    bodies = {one.path: json.loads(one.body) for one in receiver.heard}
    said = "This is a test. Events will arrive here."
    assert bodies["/json?token=t0p"]["event"] == "webhook.test"
    assert texts(bodies["/slack?token=t0p"]["blocks"]) == ["*Headway*", said]
    assert texts(bodies["/teams?token=t0p"]["attachments"]) == ["Headway", said]


@pytest.mark.parametrize("message_format", ["slack", "teams"])
def test_no_text_is_longer_than_they_take(message_format: str) -> None:
    data = {
        "project": {"id": 1, "name": "shop"},
        "database": {"id": 1, "name": "a"},
        "differences": 2000,
        "new": ["&\n" * 2000],
    }
    envelope = {"id": "1", "event": "drift.found", "at": "", "data": data}
    longest = max(texts(body_of(message_format, envelope)), key=len)
    assert longest.endswith("…")
    assert "\n" not in longest
    assert LONGEST <= len(longest) < 3000


def test_the_examples_of_the_page_are_what_is_sent() -> None:
    event, slack, teams = examples()
    assert body_of("json", event) == event
    assert body_of("slack", event) == slack
    assert body_of("teams", event) == teams
