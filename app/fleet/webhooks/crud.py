"""Webhooks: create, read, delete, test; list their deliveries; announce events."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, urlsplit

from sqlalchemy import insert, select

from app.errors import InputInvalid, WebhookNotFound
from app.extensions import db
from app.fleet.core import audit, idempotency
from app.fleet.core.leases import clock
from app.fleet.core.pagination import begin_after, page_of
from app.fleet.core.permissions import Actor
from app.fleet.core.places import REACHING
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.core.validation import LARGEST_ID, fitting
from app.fleet.webhooks import send
from app.fleet.webhooks.deliveries import DeliveryState, send_test
from app.fleet.webhooks.formats import MessageFormat
from app.models import Delivery, Webhook


class EventType(StrEnum):
    """The types of events that webhooks can receive."""

    ROLLOUT_STARTED = "rollout.started"
    ROLLOUT_HALTED = "rollout.halted"
    ROLLOUT_WAITING = "rollout.waiting"  # for an approval
    ROLLOUT_FINISHED = "rollout.finished"
    ROLLOUT_FAILED = "rollout.failed"
    ROLLOUT_CANCELLED = "rollout.cancelled"
    ROLLOUT_UNDONE = "rollout.undone"
    DRIFT_FOUND = "drift.found"


EVENTS = tuple(event.value for event in EventType)
LONGEST_URL = 2000


@dataclass(frozen=True)
class CreatedWebhook:
    """A webhook and its secret, which cannot be read again and is not in the `repr`."""

    webhook: Webhook
    secret: str | None

    def __repr__(self) -> str:
        return f"Made({self.webhook.id})"


@repeated
def create_webhook(
    actor: Actor, values: dict[str, Any], *, key: str | None = None
) -> tuple[CreatedWebhook, bool]:
    """Create a webhook. Returns it, and True if an equal request with this key made it before.

    `values`: `name`, `url`, `events`, by default all, and `format`, by default `json`. A webhook
    that was made before comes without its secret. Raises InputInvalid.
    """
    actor.require("webhooks.change")
    values = fitting(Webhook, {"name": values["name"], "url": values["url"].strip()}) | {
        "events": _known(values.get("events")),
        "format": _known_format(values.get("format")),
    }
    address = _address_of(values["url"])
    request = idempotency.Request(actor=actor, key=key, about=("webhooks", values))

    def make() -> CreatedWebhook:
        secret = send.new_secret()
        with writing() as session:
            webhook = Webhook(
                **values, address=address, secret=secret, by_id=actor.id, by_name=actor.name[:128]
            )
            session.add(webhook)
            session.flush()
            request.remember(session, webhook.id)
            _record(session, actor, "webhook.created", webhook)
        return CreatedWebhook(webhook, secret)

    return request.once(make, lambda made: CreatedWebhook(get_webhook(actor, made), None))


def get_webhook(actor: Actor, webhook_id: int) -> Webhook:
    """The webhook without its URL and its secret, or WebhookNotFound."""
    actor.require("webhooks.change")
    return _find(db.session, webhook_id)


def list_webhooks(
    actor: Actor, *, limit: int, after: int | None = None
) -> tuple[list[Webhook], int | None]:
    """A page of webhooks in the order of creation, and the `after` of the next page."""
    actor.require("webhooks.change")
    return page_of(begin_after(select(Webhook), Webhook.id, after), limit)


@repeated
def delete_webhook(actor: Actor, webhook_id: int) -> None:
    """Delete a webhook with all its deliveries; pending ones are not sent."""
    actor.require("webhooks.change")
    with writing() as session:
        webhook = _find(session, webhook_id)
        _record(session, actor, "webhook.deleted", webhook)
        session.delete(webhook)


def list_deliveries(
    actor: Actor,
    webhook_id: int,
    *,
    limit: int,
    after: int | None = None,
    state: str | None = None,
) -> tuple[list[Delivery], int | None]:
    """A page of the deliveries of a webhook, newest first. Raises WebhookNotFound."""
    get_webhook(actor, webhook_id)
    mine = select(Delivery).where(Delivery.webhook_id == webhook_id)
    query = begin_after(mine, Delivery.id, after, newest=True)
    if state is not None:
        query = query.where(Delivery.state == state)
    return page_of(query, limit)


def try_webhook(actor: Actor, webhook_id: int) -> Delivery:
    """Send the event `webhook.test` once, now. Returns the delivery. Takes up to ten seconds.

    Raises ServerBusy if another request waits for a server.
    """
    get_webhook(actor, webhook_id)
    with REACHING.take():
        return send_test(webhook_id)


def announce(session: CatalogSession, event: str, data: Callable[[], dict[str, Any]]) -> None:
    """Tell the webhooks that listen to this event, once the caller's transaction is committed.

    `data` is called only if one listens, and what it returns is kept with the deliveries, so that
    each attempt says the same: plain JSON, fit to be read by anybody.
    """
    if event not in EVENTS:
        raise ValueError(f"There is no event {event}: add it to EVENTS.")
    heard = session.execute(select(Webhook.id, Webhook.events)).all()
    listening = [webhook_id for webhook_id, events in heard if event in events]
    if not listening:
        return
    body = data()
    now = clock(session.connection())
    rows = [
        {
            "webhook_id": id_,
            "event": event,
            "body": body,
            "state": DeliveryState.PENDING,
            "next_at": now,
        }
        for id_ in listening
    ]
    session.execute(insert(Delivery), rows)


def _known(events: Sequence[str] | None) -> list[str]:
    """The events without repetition, in our order; all of them for None or none."""
    for event in events or ():
        if event not in EVENTS:
            raise InputInvalid(
                f"There is no event {event!r}. Use one of: {', '.join(EVENTS)}.", field="events"
            )
    return [event for event in EVENTS if not events or event in events]


def _known_format(asked: str | None) -> str:
    """The format; `json` for None or none."""
    if asked and asked not in list(MessageFormat):
        raise InputInvalid(
            f"There is no format {asked!r}. Use one of: {', '.join(MessageFormat)}.", field="format"
        )
    return MessageFormat(asked or MessageFormat.JSON).value


def _address_of(url: str) -> str:
    """Scheme and host, for people. Raises InputInvalid, in words without the URL."""
    if len(url) > LONGEST_URL:
        raise InputInvalid(
            f"The URL has {len(url)} characters; at most {LONGEST_URL} are kept.", field="url"
        )
    if not url.isascii() or not url.isprintable() or " " in url:
        raise InputInvalid("The URL holds a character that has to be percent-encoded.", field="url")
    try:
        parts = urlsplit(url)
        host = _host_of(parts)
    except ValueError:  # half of an IPv6 address, a port that is none
        host = ""
    if not host or parts.scheme not in ("http", "https"):
        raise InputInvalid(
            "The URL has to begin with http:// or https://. Example: https://example.org/hook",
            field="url",
        )
    return f"{parts.scheme}://{host}"[:255]


def _host_of(parts: SplitResult) -> str:
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return shown if not host or parts.port is None else f"{shown}:{parts.port}"


def _find(session: CatalogSession, webhook_id: int) -> Webhook:
    webhook = session.get(Webhook, webhook_id) if 0 < webhook_id <= LARGEST_ID else None
    if webhook is None:
        raise WebhookNotFound(f"There is no webhook {webhook_id}.", webhook=webhook_id)
    return webhook


def _record(session: CatalogSession, actor: Actor, action: str, webhook: Webhook) -> None:
    audit.record(
        session,
        actor,
        action,
        ("webhook", webhook.id),
        name=webhook.name,
        address=webhook.address,
        events=webhook.events,
        format=webhook.format,
    )
