"""The pages of webhooks in a browser without a script, and a receiver that really listens."""

import json
import re
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from app.extensions import db
from app.fleet import webhooks
from app.models import Role, Webhook
from tests.fleet.fleets import ROOT, Fleet, fresh
from tests.receiver import Receiver, receiving
from tests.web.browser import Browser

TOKEN = "t0p-of-the-url"
URL = f"https://example.org/hook?token={TOKEN}"


@pytest.fixture(autouse=True)
def no_webhooks(fleet: Fleet) -> Iterator[None]:
    yield
    fresh()
    with db.engine.begin() as connection:
        connection.execute(sa.delete(Webhook))
    fresh()


@pytest.fixture
def admin(fleet: Fleet) -> Browser:
    return Browser(fleet, Role.ADMIN)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as it:
        yield it


def make(url: str = URL, *events: str) -> int:
    made, _ = webhooks.create_webhook(ROOT, {"name": "chat", "url": url, "events": events})
    return made.webhook.id


def names() -> list[str]:
    fresh()
    return [one.name for one in webhooks.list_webhooks(ROOT, limit=9)[0]]


def test_one_is_made_and_its_secret_shown_once(admin: Browser) -> None:
    assert "There is no webhook yet." in admin.get("/webhooks/").text
    form = {"name": "chat", "url": URL, "events": ["rollout.halted"], "once": "a" * 32}
    form |= {"format": "slack"}
    made = admin.post("/webhooks/new", **form)
    assert made.status_code == 201
    secret = re.search(r"whsec_[^<]+", made.text)
    assert secret
    again = admin.post("/webhooks/new", **form)
    assert "shown before" in again.text
    assert names() == ["chat"]
    (webhook,) = webhooks.list_webhooks(ROOT, limit=9)[0]
    assert (webhook.events, webhook.format) == (["rollout.halted"], "slack")
    assert "Slack, for an incoming webhook" in again.text
    for page in (again.text, *(admin.get(f"/webhooks/{one}").text for one in ("", webhook.id))):
        assert "https://example.org" in page
        assert "rollout.halted" in page
        assert secret[0] not in page
        assert TOKEN not in page


@pytest.mark.parametrize(
    ("changed", "field", "says"),
    [
        ({"name": " "}, "name", "A name needs"),
        ({"name": "x" * 129}, "name", "at most 128"),
        ({"url": f"ftp://example.org/{TOKEN}"}, "url", "begin with http:// or https://"),
        ({"url": f"https://example.org/{TOKEN} x"}, "url", "percent-encoded"),
        ({"url": f"https://example.org/{TOKEN}".ljust(2001, "x")}, "url", "2001 characters"),
        ({"events": ["rollout.exploded"]}, "events", "There is no event"),
        ({"format": "irc"}, "format", "There is no format"),
    ],
)
def test_a_mistake_is_shown_at_its_field(
    admin: Browser, changed: dict[str, object], field: str, says: str
) -> None:
    answer = admin.post("/webhooks/new", **({"name": "chat", "url": URL} | changed))
    assert answer.status_code == 422
    (at,) = re.findall(
        r'<(?:(?:input|select) id="|fieldset)([a-z]*)[^>]* aria-invalid="true"', answer.text
    )
    assert at == field or (at, field) == ("", "events")
    assert says in answer.text.partition('id="refused">')[2].partition("</p>")[0]
    assert TOKEN not in answer.text
    assert names() == []


def cell(label: str, looks: str = "n") -> str:
    return f'<td class="{looks}" data-label="{label}">'


def test_a_test_is_sent_and_its_answer_shown(admin: Browser, receiver: Receiver) -> None:
    page = f"/webhooks/{make(f'{receiver.url}/{TOKEN}')}"
    sent = admin.post(f"{page}/test", at=page)
    assert sent.location == page
    assert "The test was delivered. It answered 204." in admin.get(page).text
    receiver.status = 500
    admin.post(f"{page}/test", at=page)
    shown = admin.get(page).text
    assert "The test was not delivered. It answered 500." in shown
    assert [json.loads(heard.body)["event"] for heard in receiver.heard] == ["webhook.test"] * 2
    assert shown.count(f"{cell('Attempts')}1</td>") == 2
    assert f"{cell('Status code')}500</td>{cell('Error', 'why')}It answered 500.</td>" in shown
    assert f"{cell('Status code')}204</td>{cell('Error', 'why')}</td>" in shown
    assert TOKEN not in shown
    assert "It answered 500." in admin.get("/webhooks/").text


def test_a_choice_is_kept_when_the_form_is_refused(admin: Browser) -> None:
    formats = re.findall(r'<option value="(\w+)"', admin.get("/webhooks/new").text)
    assert formats == ["json", "slack", "teams"]
    refused = admin.post("/webhooks/new", name=" ", url=URL, format="teams")
    assert re.findall(r'<option value="(\w+)" selected', refused.text) == ["teams"]


def test_a_test_is_sent_in_the_chosen_format(admin: Browser, receiver: Receiver) -> None:
    form = {"name": "chat", "url": f"{receiver.url}/{TOKEN}", "format": "slack", "once": "b" * 32}
    admin.post("/webhooks/new", **form)
    (webhook,) = webhooks.list_webhooks(ROOT, limit=9)[0]
    admin.post(f"/webhooks/{webhook.id}/test", at=f"/webhooks/{webhook.id}")
    (heard,) = receiver.heard
    assert json.loads(heard.body)["text"] == "Headway: This is a test. Events will arrive here."


def test_one_is_deleted_after_a_question(admin: Browser) -> None:
    path = f"/webhooks/{make()}/delete"
    assert "Delete webhook chat?" in admin.get(path).text
    assert names() == ["chat"]
    assert admin.post(path).location == "/webhooks/"
    assert "Webhook chat is deleted." in admin.get("/webhooks/").text
    assert names() == []
    assert admin.get(path).status_code == 404


def test_a_form_of_another_site_does_nothing(admin: Browser, receiver: Receiver) -> None:
    made = make(receiver.url)
    for path in ("/webhooks/new", f"/webhooks/{made}/test", f"/webhooks/{made}/delete"):
        answer = admin.client.post(path, data={"name": "more", "url": URL})
        assert answer.status_code == 400, path
    assert names() == ["chat"]
    assert receiver.heard == []


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER, Role.OPERATOR])
def test_they_are_for_admins(fleet: Fleet, role: Role, receiver: Receiver) -> None:
    made = make(receiver.url)
    other = Browser(fleet, role)
    for path in ("", "new", f"{made}", f"{made}/delete"):
        assert other.get(f"/webhooks/{path}").status_code == 403, path
    for path in ("new", f"{made}/test", f"{made}/delete"):
        refused = other.post(f"/webhooks/{path}", at="/", name="more", url=URL)
        assert refused.status_code == 403, path
    assert 'href="/webhooks/"' not in other.get("/").text
    assert names() == ["chat"]
    assert receiver.heard == []


def test_admins_find_them_in_the_navigation(admin: Browser) -> None:
    assert 'href="/webhooks/"' in admin.get("/").text
