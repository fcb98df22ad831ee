"""Webhooks: heard once it is true, signed, again after ever longer pauses, given up after a day."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from flask import Flask
from sqlalchemy.engine import URL

from app import create_app
from app.errors import IdempotencyKeyReused, InputInvalid, RoleInsufficient, WebhookNotFound
from app.extensions import db
from app.fleet import webhooks
from app.fleet.core import audit, key_rotation
from app.fleet.core.transactions import writing
from app.fleet.webhooks import deliveries, send
from app.models import Delivery, Role, Webhook
from tests.conftest import settings_for
from tests.fleet.conftest import ROOT, at_once, person
from tests.receiver import Receiver, receiving

PAGE = Path(__file__).resolve().parents[2] / "docs" / "watching.md"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as it:
        yield it


def make(url: str, *events: str) -> webhooks.CreatedWebhook:
    made, replayed = webhooks.create_webhook(ROOT, {"name": "w", "url": url, "events": events})
    assert not replayed
    db.session.expunge(made.webhook)  # it stays readable whatever becomes of the session
    return made


def announce(event: str = "rollout.started", **body: Any) -> None:
    with writing() as session:
        webhooks.announce(session, event, lambda: body)


def told(made: webhooks.CreatedWebhook) -> list[Delivery]:
    """What a webhook was told, oldest first."""
    db.session.remove()
    found, _ = webhooks.list_deliveries(ROOT, made.webhook.id, limit=1000)
    return found[::-1]


def pass_time(**delta: float) -> None:
    """As if so much time had passed since everything that is there."""
    by = timedelta(**delta)
    db.session.remove()
    with writing() as session:
        for one in session.scalars(sa.select(Delivery)):
            one.next_at, one.created_at = one.next_at - by, one.created_at - by


# --- what is heard ------------------------------------------------------------------------------


def test_who_listens_is_told_once(anywhere: Flask, receiver: Receiver) -> None:
    made = make(f"{receiver.url}/hook?token=t0p", "rollout.halted", "drift.found")
    make(f"{receiver.url}/other", "rollout.finished")
    announce("rollout.halted", rollout=7, reason="Σοφία, 🚂")
    assert webhooks.deliver() == 1
    assert webhooks.deliver() == 0
    (heard,) = receiver.heard
    assert heard.path == "/hook?token=t0p"
    said = json.loads(heard.body)
    assert (said["event"], said["data"]) == (
        "rollout.halted",
        {"rollout": 7, "reason": "Σοφία, 🚂"},
    )
    assert abs(datetime.fromisoformat(said["at"]) - datetime.now(UTC)) < timedelta(seconds=30)
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["webhook-id"] == said["id"]
    (delivery,) = told(made)
    assert (delivery.state, delivery.status, delivery.attempts) == ("delivered", 204, 1)
    assert delivery.delivered_at
    assert delivery.error is None


def test_without_a_list_it_is_told_everything(here: Flask, receiver: Receiver) -> None:
    made = make(receiver.url)
    assert made.webhook.events == list(webhooks.EVENTS)
    for event in webhooks.EVENTS:
        announce(event)
    assert webhooks.deliver() == len(webhooks.EVENTS)
    assert [json.loads(heard.body)["event"] for heard in receiver.heard] == list(webhooks.EVENTS)


def test_what_is_taken_back_is_never_told(anywhere: Flask, receiver: Receiver) -> None:
    made = make(receiver.url)
    with suppress(ZeroDivisionError), writing() as session:
        webhooks.announce(session, "rollout.started", dict)
        session.flush()
        raise ZeroDivisionError
    assert webhooks.deliver() == 0
    assert told(made) == []


def test_an_event_that_is_none_is_a_mistake_of_ours(here: Flask) -> None:
    with pytest.raises(ValueError, match="no event"), writing() as session:
        webhooks.announce(session, "rollout.exploded", dict)


def test_two_who_deliver_at_once_send_each_message_once(
    anywhere: Flask, receiver: Receiver
) -> None:
    make(receiver.url)
    for number in range(10):
        announce(number=number)
    tried = at_once(anywhere, *[webhooks.deliver] * 4)
    assert sum(tried) == 10, tried
    numbers = [json.loads(heard.body)["data"]["number"] for heard in receiver.heard]
    assert sorted(numbers) == list(range(10))


def test_more_than_one_turn_takes_is_told_in_the_next(here: Flask, receiver: Receiver) -> None:
    make(receiver.url)
    for number in range(deliveries.AT_A_TIME + 5):
        announce(number=number)
    assert [webhooks.deliver() for _ in range(3)] == [deliveries.AT_A_TIME, 5, 0]
    numbers = [json.loads(heard.body)["data"]["number"] for heard in receiver.heard]
    assert numbers == list(range(deliveries.AT_A_TIME + 5))


# --- the signature ------------------------------------------------------------------------------


def test_the_check_that_the_page_shows_takes_ours_and_nothing_else(
    here: Flask, receiver: Receiver
) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len([line for line in code.splitlines() if line.startswith("    ")]) == 6
    page: dict[str, Any] = {}
    exec(code, page)
    is_ours = page["is_ours"]
    made = make(receiver.url)
    assert made.secret
    announce()
    webhooks.deliver()
    ((headers, body),) = ((heard.headers, heard.body) for heard in receiver.heard)
    assert is_ours(made.secret, headers, body)
    assert not is_ours(send.new_secret(), headers, body)
    assert not is_ours(made.secret, headers, body + b" ")
    assert not is_ours(made.secret, headers | {"webhook-id": "1"}, body)
    old = int(headers["webhook-timestamp"]) - 301
    signed = send.signature(made.secret, headers["webhook-id"], old, body)
    stale = headers | {"webhook-timestamp": str(old), "webhook-signature": signed}
    assert not is_ours(made.secret, stale, body)


def test_a_message_that_is_sent_again_has_its_id_and_a_new_signature(
    here: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(receiver.url)
    announce()
    receiver.status = 500
    webhooks.deliver()
    pass_time(seconds=11)
    later = time.time() + 11
    monkeypatch.setattr(send.time, "time", lambda: later)
    webhooks.deliver()
    one, two = (heard.headers for heard in receiver.heard)
    number = re.compile(r"^\d+-").match  # the rest is the moment, which the test has moved
    assert number(one["webhook-id"])[0] == number(two["webhook-id"])[0]  # type: ignore[index]
    assert one["webhook-signature"] != two["webhook-signature"]


# --- those who do not hear ----------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setattr(send, "TIMEOUT", 0.6)
    return 0.6


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("hang", "did not answer within"),
        ("drip", "did not answer within"),
        ("close", "connection ended before"),
    ],
)
def test_one_that_does_not_answer_is_left_in_time(
    here: Flask, receiver: Receiver, quick: float, how: str, says: str
) -> None:
    made = make(f"{receiver.url}/t0p")
    receiver.talk = getattr(receiver, how)
    announce()
    began = time.monotonic()
    assert webhooks.deliver() == 1
    assert time.monotonic() - began < quick + 2
    (delivery,) = told(made)
    assert (delivery.state, delivery.status, delivery.attempts) == ("pending", None, 1)
    assert says in str(delivery.error)
    assert "t0p" not in str(delivery.error)


def test_one_that_answers_late_was_heard(here: Flask, receiver: Receiver) -> None:
    made = make(receiver.url)
    receiver.talk = receiver.late
    announce()
    webhooks.deliver()
    assert [(one.state, one.status) for one in told(made)] == [("delivered", 200)]


MESSAGE = send.Message(id="1", body={})


def test_only_public_addresses_are_sent_to_unless_a_setting_names_them(receiver: Receiver) -> None:
    secret, port = send.new_secret(), receiver.url.rpartition(":")[2]
    hosts = ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0.0.0.0", "[::1]"]
    hosts += ["[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "10.0.0.1"]
    hosts += ["169.254.169.254", "192.168.0.1", "100.64.0.1", "[fe80::1]", "[fd00::1]", "224.0.0.1"]
    for host in hosts:
        answer = send.send(f"http://{host}:{port}/t0p", secret, MESSAGE, ["other", f"{host}:1"])
        assert "is not public. Nothing was sent" in str(answer.error), host
    assert receiver.heard == []
    for named in ("127.0.0.1", f"127.0.0.1:{port}", "*.0.0.1", "*"):
        assert send.send(f"{receiver.url}/t0p", secret, MESSAGE, [named]).ok
    assert len(receiver.heard) == 4
    assert all(map(send.is_public, ("93.184.215.14", "2606:4700::1111", "64:ff9b::808:808")))


def test_the_address_that_was_checked_is_the_one_that_is_sent_to(
    here: Flask,
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A name that leads elsewhere a moment later, and a log of every detail."""
    asked: list[object] = []

    def resolve(host: object, port: int, **_: object) -> list[Any]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "127.0.0.2"
        return [(2, 1, 6, "", (one, port)) for one in ("127.0.0.9", address)]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    caplog.set_level("DEBUG")
    url = f"http://ann:hunter2@hook.example.org:{receiver.url.rpartition(':')[2]}/t0p"
    assert send.send(url, send.new_secret(), MESSAGE, ["*.example.org"]).status == 204
    assert asked == ["hook.example.org"]
    (heard,) = receiver.heard
    assert heard.headers["host"] == f"hook.example.org:{receiver.url.rpartition(':')[2]}"
    assert heard.headers["authorization"] == "Basic YW5uOmh1bnRlcjI="
    assert not {"t0p", "hunter2"} & set(re.findall(r"\w+", caplog.text))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(here: Flask, receiver: Receiver, status: int) -> None:
    with receiving() as elsewhere:
        receiver.status, receiver.headers = status, {"Location": f"{elsewhere.url}/stolen"}
        made = make(receiver.url)
        announce()
        webhooks.deliver()
        assert elsewhere.heard == []
    (delivery,) = told(made)
    assert (delivery.state, delivery.status) == ("pending", status)
    assert "Redirects are not followed" in str(delivery.error)


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
def test_an_answer_that_is_no_yes_is_kept_without_its_text(
    here: Flask, receiver: Receiver, status: int
) -> None:
    made = make(receiver.url)
    receiver.status = status
    announce()
    webhooks.deliver()
    (delivery,) = told(made)
    assert (delivery.state, delivery.status) == ("pending", status)
    assert delivery.error == f"It answered {status}."


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:9/t0p", "connection was refused"),
        ("http://no-such-host.invalid/t0p", "host name is not known"),
        ("https://127.0.0.1:{port}/t0p", "TLS"),
    ],
)
def test_an_address_without_a_receiver_is_told_without_its_url(
    here: Flask, receiver: Receiver, url: str, says: str
) -> None:
    made = make(url.format(port=receiver.url.rpartition(":")[2]))
    announce()
    webhooks.deliver()
    (delivery,) = told(made)
    assert says in str(delivery.error)
    assert "t0p" not in str(delivery.error)


def test_the_pauses_grow_up_to_an_hour() -> None:
    seconds = [deliveries.pause_after(attempts).total_seconds() for attempts in range(1, 12)]
    assert seconds == [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    assert deliveries.pause_after(10_000) == timedelta(hours=1)


def test_it_is_tried_again_after_its_pause_and_not_before(
    anywhere: Flask, receiver: Receiver
) -> None:
    made = make(receiver.url)
    announce()
    receiver.status = 503
    assert webhooks.deliver() == 1
    pass_time(seconds=8)
    assert webhooks.deliver() == 0
    pass_time(seconds=3)
    receiver.status = 200
    assert webhooks.deliver() == 1
    assert [(one.state, one.attempts, one.error) for one in told(made)] == [("delivered", 2, None)]


def test_it_is_given_up_after_a_day(anywhere: Flask, receiver: Receiver) -> None:
    made = make(receiver.url)
    announce()
    receiver.status = 500
    for hours in range(23):
        webhooks.deliver()
        (delivery,) = told(made)
        assert delivery.state == "pending", hours
        pass_time(hours=1)
    webhooks.deliver()
    (delivery,) = told(made)
    end = delivery.created_at + timedelta(days=1)
    assert delivery.next_at <= end
    pass_time(hours=1, seconds=1)
    assert webhooks.deliver() == 1
    (delivery,) = told(made)
    assert (delivery.state, delivery.attempts) == ("failed", 25)
    pass_time(days=3)
    assert webhooks.deliver() == 0


def test_one_that_is_away_holds_up_nobody_else(here: Flask, quick: float) -> None:
    with receiving() as away, receiving() as there:
        away.talk = away.hang
        lost, found = make(away.url), make(there.url)
        for _ in range(10):
            announce()
        began = time.monotonic()
        assert webhooks.deliver() == 20
        assert time.monotonic() - began < quick + 2
        assert len(away.heard) == 1  # the nine behind it share its pause
    assert {one.state for one in told(found)} == {"delivered"}
    assert {one.state for one in told(lost)} == {"pending"}
    assert all(one.error for one in told(lost))


def test_one_message_that_is_never_taken_stops_no_other(here: Flask, receiver: Receiver) -> None:
    def picky(handler: Any) -> None:
        bad = b'"bad":true' in receiver.heard[-1].body
        handler.send_response(400 if bad else 200)
        handler.end_headers()

    receiver.talk = picky
    made = make(receiver.url)
    announce(bad=True)
    announce()
    webhooks.deliver()
    assert [one.state for one in told(made)] == ["pending", "delivered"]


def test_a_sender_that_dies_is_followed_by_another(here: Flask, receiver: Receiver) -> None:
    make(receiver.url)
    announce()
    db.session.remove()
    (webhook_id,) = db.session.scalars(sa.select(Webhook.id))
    assert deliveries._claim(webhook_id)  # and then it is gone
    assert webhooks.deliver() == 0
    pass_time(seconds=61)
    assert webhooks.deliver() == 1
    assert len(receiver.heard) == 1


def test_what_ended_is_kept_up_to_a_number(
    anywhere: Flask, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "KEPT", 5)
    made, other = make(receiver.url), make(receiver.url)
    for number in range(12):
        announce(number=number)
        webhooks.deliver()
    announce(number=12)
    assert [one.body["number"] for one in told(made)] == [7, 8, 9, 10, 11, 12]
    assert len(told(other)) == 6


# --- who may, and what is shown -----------------------------------------------------------------


def test_only_an_admin_may(anywhere: Flask, receiver: Receiver) -> None:
    made = make(receiver.url)
    for role in (Role.VIEWER, Role.OPERATOR):
        _, actor = person(role)
        for attempt in (
            lambda who: webhooks.create_webhook(who, {"name": "x", "url": receiver.url}),
            lambda who: webhooks.get_webhook(who, made.webhook.id),
            lambda who: webhooks.list_webhooks(who, limit=1),
            lambda who: webhooks.list_deliveries(who, made.webhook.id, limit=1),
            lambda who: webhooks.try_webhook(who, made.webhook.id),
            lambda who: webhooks.delete_webhook(who, made.webhook.id),
        ):
            with pytest.raises(RoleInsufficient):
                attempt(actor)
    assert receiver.heard == []


def test_the_url_and_the_secret_are_shown_nowhere(anywhere: Flask, receiver: Receiver) -> None:
    made = make(f"{receiver.url.replace('//', '//ann:hunter2@')}/T0P?key=t0p")
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made.secret or "")
    assert made.webhook.address == receiver.url
    stored = db.session.execute(sa.text("SELECT url, secret, address FROM webhook")).one()
    trail, _ = audit.list_events(ROOT, limit=1)
    shown = f"{stored} {made!r} {trail[0].detail} {trail[0].action}"
    for secret in ("hunter2", "T0P", "t0p", made.secret or ""):
        assert secret not in shown
    assert trail[0].action == "webhook.created"
    announce()
    webhooks.deliver()
    assert receiver.heard[0].headers["authorization"] == "Basic YW5uOmh1bnRlcjI="
    assert receiver.heard[0].path == "/T0P?key=t0p"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/t0p",
        "file:///etc/t0p",
        "http://",
        "http:///t0p",
        "https://[::1/t0p",
        "http://h:port/t0p",
        "http://h:70000/t0p",
        "http://h/t0p t0p",
        "http://h/t0p\r\nX: y",
        "http://ü/t0p",
        "t0p",
        "http://h/t0p" + "x" * 2000,
    ],
)
def test_an_address_that_cannot_be_told_is_refused_without_being_shown(
    here: Flask, url: str
) -> None:
    with pytest.raises(InputInvalid) as refused:
        make(url)
    assert "t0p" not in str(refused.value)


def test_an_unknown_event_is_refused(here: Flask) -> None:
    with pytest.raises(InputInvalid, match=r"no event 'x'.*rollout\.halted"):
        make("http://h", "x")


def test_an_unknown_format_is_refused(here: Flask) -> None:
    with pytest.raises(InputInvalid, match=r"no format 'x'.*slack"):
        webhooks.create_webhook(ROOT, {"name": "w", "url": "http://h", "format": "x"})


def test_a_key_makes_one_webhook_and_shows_its_secret_once(anywhere: Flask) -> None:
    _, admin = person(Role.ADMIN)
    values = {"name": "w", "url": "http://h/t0p", "events": []}
    one, first = webhooks.create_webhook(admin, values, key="k")
    two, second = webhooks.create_webhook(admin, values, key="k")
    assert (first, second) == (False, True)
    assert one.webhook.id == two.webhook.id
    assert one.secret
    assert two.secret is None
    anywhere.config["SECRET_KEY"] = "another"
    with pytest.raises(IdempotencyKeyReused):  # nobody without it guesses the URL
        webhooks.create_webhook(admin, values, key="k")


def test_one_that_is_deleted_takes_its_deliveries_with_it(
    anywhere: Flask, receiver: Receiver
) -> None:
    made = make(receiver.url)
    announce()
    webhooks.delete_webhook(ROOT, made.webhook.id)
    assert webhooks.deliver() == 0
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Delivery)) == 0
    with pytest.raises(WebhookNotFound):
        webhooks.get_webhook(ROOT, made.webhook.id)
    trail, _ = audit.list_events(ROOT, limit=1)
    assert (trail[0].action, trail[0].detail["address"]) == ("webhook.deleted", receiver.url)


def test_a_trial_says_how_it_went_and_is_not_repeated(anywhere: Flask, receiver: Receiver) -> None:
    made = make(receiver.url, "drift.found")
    good = webhooks.try_webhook(ROOT, made.webhook.id)
    assert (good.event, good.state, good.status) == ("webhook.test", "delivered", 204)
    receiver.status = 500
    bad = webhooks.try_webhook(ROOT, made.webhook.id)
    assert (bad.state, bad.error) == ("failed", "It answered 500.")
    pass_time(days=1)
    assert webhooks.deliver() == 0
    assert len(receiver.heard) == 2


def test_after_the_keys_were_rotated_it_is_told_as_before(
    migrated_url: URL, receiver: Receiver
) -> None:
    @contextmanager
    def app_with(*keys: str) -> Iterator[None]:
        with create_app(settings_for(migrated_url, encryption_keys=keys)).app_context():
            yield
            db.session.remove()
            db.engine.dispose()

    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    with app_with(old):
        made = make(f"{receiver.url}/t0p")
    with app_with(new, old):
        assert key_rotation.rotate_keys(ROOT).renewed == 2
    with app_with(new):
        announce()
        assert webhooks.deliver() == 1
    (heard,) = receiver.heard
    assert heard.path == "/t0p"
    headers, assigned = heard.headers, made.secret or ""
    stamp = int(headers["webhook-timestamp"])
    right = send.signature(assigned, headers["webhook-id"], stamp, heard.body)
    assert headers["webhook-signature"] == right


def test_one_whose_key_is_gone_is_said_so_and_stops_nobody(here: Flask, receiver: Receiver) -> None:
    lost, found = make(receiver.url), make(receiver.url)
    nonsense = sa.text("UPDATE webhook SET secret = 'gAAAAA' WHERE id = :id")
    db.session.execute(nonsense, {"id": lost.webhook.id})
    db.session.commit()
    announce()
    webhooks.deliver()
    assert [one.state for one in told(found)] == ["delivered"]
    (delivery,) = told(lost)
    assert (delivery.state, delivery.attempts) == ("pending", 1)
    assert "HEADWAY_ENCRYPTION_KEYS" in str(delivery.error)
