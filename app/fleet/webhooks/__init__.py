"""Webhooks: addresses that receive events, and the deliveries with their retries."""

from app.fleet.webhooks.crud import (
    EVENTS,
    LONGEST_URL,
    CreatedWebhook,
    EventType,
    announce,
    create_webhook,
    delete_webhook,
    get_webhook,
    list_deliveries,
    list_webhooks,
    try_webhook,
)
from app.fleet.webhooks.deliveries import deliver
from app.fleet.webhooks.formats import MessageFormat

__all__ = [
    "EVENTS",
    "LONGEST_URL",
    "CreatedWebhook",
    "EventType",
    "MessageFormat",
    "announce",
    "create_webhook",
    "delete_webhook",
    "deliver",
    "get_webhook",
    "list_deliveries",
    "list_webhooks",
    "try_webhook",
]
