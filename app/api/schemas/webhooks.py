"""Schemas of webhooks and their deliveries."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field

from app.api.schemas.common import AFTER, LARGEST_EVENT, In, Name, Out, Page
from app.fleet.webhooks import LONGEST_URL, EventType, MessageFormat
from app.fleet.webhooks.deliveries import DeliveryState

PORT = r"(:([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}))?"
HOST = r"([A-Za-z0-9.-]+|\[(::1|[0-9A-Fa-f]{1,4}(:[0-9A-Fa-f]{1,4}){7})\])"
WHO = r"([A-Za-z0-9._~%-]+(:[A-Za-z0-9._~%-]*)?@)?"
URL = rf"^https?://{WHO}{HOST}{PORT}([/?#][!-~]*)?$"


class WebhookIn(In):
    """A new webhook."""

    name: Name = Field(examples=["chat"])
    url: Annotated[str, Field(max_length=LONGEST_URL, pattern=URL)] = Field(
        examples=["https://example.org/hook"],
        description="http or https. Stored as a secret, because it may contain a token, and never "
        "shown again.",
    )
    events: list[EventType] | None = Field(
        None, description="The events to send. Default: all of them."
    )
    format: MessageFormat = Field(
        MessageFormat.JSON,
        description="The body of its messages. `json`: the event and its data. `slack`: what an "
        "incoming webhook of Slack takes. `teams`: an Adaptive Card, as a webhook of Microsoft "
        "Teams' Workflows takes it.",
    )


class WebhookOut(Out):
    """A webhook, without its URL and its secret."""

    id: int
    name: str
    address: str
    events: list[str]
    format: MessageFormat
    by_id: int | None
    by_name: str
    created_at: datetime


class WebhookMade(WebhookOut):
    """A webhook with its secret, which is shown only once: null if an equal request made it."""

    secret: str | None


class WebhookPage(BaseModel):
    """A page of webhooks, in the order they were created."""

    items: list[WebhookOut]
    next: int | None


class WebhookTest(In):
    """An empty object, `{}`."""


class DeliveryOut(Out):
    """A message to a webhook, and its result."""

    id: int
    event: str
    body: dict[str, Any]
    state: DeliveryState
    attempts: int
    next_at: datetime
    status: int | None
    error: str | None
    created_at: datetime
    delivered_at: datetime | None


class DeliveryQuery(Page):
    """Filters for a list of deliveries."""

    after: int | None = Field(None, ge=0, le=LARGEST_EVENT, description=AFTER)
    state: DeliveryState | None = None


class DeliveryPage(BaseModel):
    """A page of deliveries, newest first."""

    items: list[DeliveryOut]
    next: int | None
