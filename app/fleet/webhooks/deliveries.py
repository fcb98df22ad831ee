"""Deliveries: repeated after growing pauses until the receiver accepts, for at most a day."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import undefer

from app.errors import WebhookNotFound
from app.extensions import db
from app.fleet.addresses.paths import settings
from app.fleet.core.leases import clock
from app.fleet.core.transactions import CatalogSession, repeated, writing
from app.fleet.webhooks.formats import TEST, body_of
from app.fleet.webhooks.send import TIMEOUT, Answer, Message, send
from app.models import Delivery, Webhook
from headway.errors import HeadwayError

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=10), timedelta(hours=1)
GIVEN_UP = timedelta(days=1)
KEPT = 200
"""How many ended deliveries are kept for each webhook."""
AT_A_TIME, THREADS = 20, 16
CLAIMED = timedelta(seconds=60)
"""If a sender dies, another tries after this time, so a message may arrive twice."""


class DeliveryState(StrEnum):
    """The state of a delivery."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"  # not tried again


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Messages to send to one webhook."""

    url: str
    secret: str
    messages: tuple[tuple[int, Message], ...]
    """(Id of the delivery, message)."""


def deliver() -> int:
    """Send the deliveries that are due. Returns how many were tried.

    Any number of processes may call it; usually it is one short query. Webhooks do not wait for
    each other, and it returns within about twenty seconds in any case.
    """
    due = select(Delivery.webhook_id).where(*_due(clock(db.session.connection()))).distinct()
    waiting = list(db.session.scalars(due))
    db.session.rollback()  # no transaction stays open while messages are sent
    batches = [batch for webhook_id in waiting if (batch := _claim(webhook_id))]
    if not batches:
        return 0
    with ThreadPoolExecutor(min(len(batches), THREADS)) as pool:
        answers = list(pool.map(partial(_send, private=settings().webhook_hosts), batches))
    tried = 0
    for found in answers:
        _note(found)
        tried += len(found)
    return tried


def send_test(webhook_id: int) -> Delivery:
    """Send a test message once, now. Returns the delivery. Raises WebhookNotFound."""
    with writing() as session:
        now = clock(session.connection())
        delivery = Delivery(
            webhook_id=webhook_id,
            event=TEST,
            body={},
            state=DeliveryState.PENDING,
            next_at=now + CLAIMED,
        )
        session.add(delivery)
        session.flush()
        webhook = _receiver(session, webhook_id)
        url, secret, message = webhook.url, webhook.secret, _message(delivery, webhook.format)
    answer = send(url, secret, message, settings().webhook_hosts)
    _note([(delivery.id, answer)], again=False)
    sent = db.session.get(Delivery, delivery.id, populate_existing=True)
    if sent is None:
        raise WebhookNotFound(f"Webhook {webhook_id} was deleted at the same time.")
    return sent


@repeated
def _claim(webhook_id: int) -> Batch | None:
    """Reserve the due deliveries of a webhook for CLAIMED; None if another sender has them."""
    with writing() as session:
        now = clock(session.connection())
        # Deliveries that failed before come last: one that is never accepted must not block others.
        query = select(Delivery).where(Delivery.webhook_id == webhook_id, *_due(now))
        found = session.scalars(query.order_by(Delivery.attempts, Delivery.id).limit(AT_A_TIME))
        mine = [delivery for delivery in found.all() if _took(session, delivery, now)]
        if not mine:
            return None
        try:
            webhook = _receiver(session, webhook_id)
        except HeadwayError as error:  # its URL cannot be decrypted; other webhooks go on
            session.flush()
            _write(session, [(one.id, Answer(error=str(error))) for one in mine], now, again=True)
            return None
        messages = tuple((one.id, _message(one, webhook.format)) for one in mine)
        return Batch(url=webhook.url, secret=webhook.secret, messages=messages)


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (Delivery.state == DeliveryState.PENDING, Delivery.next_at <= now)


def _took(session: CatalogSession, delivery: Delivery, now: datetime) -> bool:
    """Reserve a delivery. The condition names the expected state: of two senders one succeeds."""
    mine = update(Delivery).where(Delivery.id == delivery.id, *_due(now))
    done = session.execute(
        mine.values(next_at=now + CLAIMED).execution_options(synchronize_session=False)
    )
    return bool(done.rowcount)  # type: ignore[attr-defined]


def _receiver(session: CatalogSession, webhook_id: int) -> Webhook:
    """The webhook with its URL and its secret."""
    both = undefer(Webhook.url), undefer(Webhook.secret)
    return session.get_one(Webhook, webhook_id, options=both, populate_existing=True)


def _message(delivery: Delivery, message_format: str) -> Message:
    made = delivery.created_at.astimezone(UTC)
    # With the time: SQLite may reuse the id of a deleted row.
    message_id = f"{delivery.id}-{made:%Y%m%d%H%M%S}"
    envelope = {
        "id": message_id,
        "event": delivery.event,
        "at": made.isoformat(),
        "data": delivery.body,
    }
    return Message(id=message_id, body=body_of(message_format, envelope))


def _send(batch: Batch, *, private: Sequence[str]) -> list[tuple[int, Answer]]:
    """Send messages one after the other, for up to TIMEOUT, until the receiver does not answer."""
    answers: list[tuple[int, Answer]] = []
    until = datetime.now(UTC) + timedelta(seconds=TIMEOUT)
    for delivery_id, message in batch.messages:
        answer = send(batch.url, batch.secret, message, private)
        answers.append((delivery_id, answer))
        if answer.status is None:
            # The others would wait as long: they get the same result and pause.
            rest = batch.messages[len(answers) :]
            return answers + [(other, answer) for other, _ in rest]
        if datetime.now(UTC) > until:
            break
    return answers


@repeated
def _note(answers: Sequence[tuple[int, Answer]], *, again: bool = True) -> None:
    """Store the results; `again`: failed messages are sent again later."""
    with writing() as session:
        _write(session, answers, clock(session.connection()), again=again)


def _write(
    session: CatalogSession, answers: Sequence[tuple[int, Answer]], now: datetime, *, again: bool
) -> None:
    answers_by_id = dict(answers)
    rows = (
        select(Delivery)
        .where(Delivery.id.in_(answers_by_id))
        .execution_options(populate_existing=True)
    )
    found = session.scalars(rows.order_by(Delivery.id)).all()
    for delivery in found:
        _judge(delivery, answers_by_id[delivery.id], now, again=again)
    session.flush()
    for webhook_id in sorted({delivery.webhook_id for delivery in found}):
        _forget_old(session, webhook_id)


def _judge(delivery: Delivery, answer: Answer, now: datetime, *, again: bool) -> None:
    delivery.attempts += 1
    delivery.status, delivery.error = answer.status, answer.error
    if answer.ok:
        delivery.state, delivery.delivered_at = DeliveryState.DELIVERED, now
    elif not again or now - delivery.created_at >= GIVEN_UP:
        delivery.state = DeliveryState.FAILED
        log.warning("delivery %s to webhook %s failed", delivery.id, delivery.webhook_id)
    else:
        end = delivery.created_at + GIVEN_UP
        delivery.next_at = min(now + pause_after(delivery.attempts), max(end, now))


def pause_after(attempts: int) -> timedelta:
    """The pause after a number of attempts: 10 s, 20 s, 40 s, and so on up to an hour."""
    return min(FIRST_PAUSE * (1 << min(attempts - 1, 16)), LONGEST_PAUSE)


def _forget_old(session: CatalogSession, webhook_id: int) -> None:
    ended = (Delivery.webhook_id == webhook_id, Delivery.state != DeliveryState.PENDING)
    newest = select(Delivery.id).where(*ended).order_by(Delivery.id.desc())
    oldest = session.scalar(newest.offset(KEPT).limit(1))
    if oldest is not None:
        gone = delete(Delivery).where(*ended, Delivery.id <= oldest)
        session.execute(gone.execution_options(synchronize_session=False))
