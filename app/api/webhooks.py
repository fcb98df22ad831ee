"""`/api/v1/webhooks`: addresses that receive events. For admins."""

from typing import Any

from apiflask import APIBlueprint
from flask import url_for

from app.api import access, responses
from app.api.schemas.common import Idempotent, Page
from app.api.schemas.webhooks import (
    DeliveryOut,
    DeliveryPage,
    DeliveryQuery,
    WebhookIn,
    WebhookMade,
    WebhookOut,
    WebhookPage,
    WebhookTest,
)
from app.fleet import webhooks as fleet

bp = APIBlueprint("webhooks", __name__, url_prefix="/webhooks", tag="webhooks")


@bp.post("")
@bp.input(WebhookIn, arg_name="body")
@bp.input(Idempotent, location="headers", arg_name="idempotent")
@bp.output(WebhookMade, status_code=201)
@bp.doc(summary="Create a webhook", operation_id="createWebhook")
def create(body: WebhookIn, idempotent: Idempotent) -> Any:
    made, replayed = fleet.create_webhook(
        access.actor(), body.model_dump(), key=idempotent.idempotency_key
    )
    shown = WebhookOut.model_validate(made.webhook).model_dump() | {"secret": made.secret}
    where = url_for("api.webhooks.read", webhook_id=made.webhook.id)
    return shown, 201, responses.made(where, replayed)


@bp.get("")
@bp.input(Page, location="query", arg_name="query")
@bp.output(WebhookPage)
@bp.doc(summary="List webhooks", operation_id="listWebhooks")
def list_(query: Page) -> Any:
    found, following = fleet.list_webhooks(access.actor(), **query.model_dump())
    return {"items": found, "next": following}, 200, responses.next_link(following)


@bp.get("/<int:webhook_id>")
@bp.output(WebhookOut)
@bp.doc(summary="Read a webhook, without its URL and secret", operation_id="readWebhook")
def read(webhook_id: int) -> Any:
    return fleet.get_webhook(access.actor(), webhook_id)


@bp.delete("/<int:webhook_id>")
@bp.output({}, status_code=204)
@bp.doc(summary="Delete a webhook and its deliveries", operation_id="deleteWebhook")
def delete(webhook_id: int) -> Any:
    fleet.delete_webhook(access.actor(), webhook_id)
    return "", 204


@bp.get("/<int:webhook_id>/deliveries")
@bp.input(DeliveryQuery, location="query", arg_name="query")
@bp.output(DeliveryPage)
@bp.doc(summary="List a webhook's deliveries, newest first", operation_id="listDeliveries")
def deliveries(webhook_id: int, query: DeliveryQuery) -> Any:
    found, following = fleet.list_deliveries(access.actor(), webhook_id, **query.model_dump())
    return {"items": found, "next": following}, 200, responses.next_link(following)


@bp.post("/<int:webhook_id>/test")
@bp.input(WebhookTest, arg_name="body")
@bp.output(DeliveryOut)
@bp.doc(summary="Tell a webhook `webhook.test` now", operation_id="testWebhook")
def test(webhook_id: int, body: WebhookTest) -> Any:  # noqa: ARG001
    return fleet.try_webhook(access.actor(), webhook_id)
