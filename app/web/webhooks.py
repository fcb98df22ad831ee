"""`/webhooks`: the list of webhooks, the form of a new one, and a webhook with its deliveries."""

from typing import Any

from apiflask import APIBlueprint
from flask import flash, redirect, render_template, request, url_for

from app.errors import InputInvalid
from app.fleet import webhooks as fleet
from app.http.statuses import status_and_headers
from app.web import access
from app.web.pagination import PAGE, after

bp = APIBlueprint("webhooks", __name__, enable_openapi=False, url_prefix="/webhooks")

FORMATS = {
    fleet.MessageFormat.JSON: "JSON, for programs",
    fleet.MessageFormat.SLACK: "Slack, for an incoming webhook",
    fleet.MessageFormat.TEAMS: "Microsoft Teams, for a webhook of Workflows",
}
"""Format -> how people choose it."""


@bp.get("/")
def list_() -> str:
    """A page of webhooks, in the order of creation, each with its last delivery."""
    actor = access.actor()
    found, following = fleet.list_webhooks(actor, limit=PAGE, after=after())
    last = {one.id: fleet.list_deliveries(actor, one.id, limit=1)[0] for one in found}
    return render_template("webhooks.html", webhooks=found, following=following, last=last)


@bp.route("/new", methods=["GET", "POST"])
def new() -> Any:
    """Create a webhook. Its secret is shown only in this response."""
    actor = access.actor()
    actor.require("webhooks.change")
    if request.method == "GET":
        return _form()
    form = request.form
    values = {
        "name": form.get("name", "").strip(),
        "url": form.get("url", ""),
        "events": form.getlist("events"),
        "format": form.get("format"),
    }
    try:
        made, _ = fleet.create_webhook(actor, values, key=access.once())
    except InputInvalid as error:
        return _form(error), *status_and_headers(error)
    return _page(made.webhook.id, made), 201


@bp.get("/<int:webhook_id>")
def show(webhook_id: int) -> str:
    """The page of a webhook: its address, its events and its deliveries, newest first."""
    return _page(webhook_id)


@bp.post("/<int:webhook_id>/test")
def test(webhook_id: int) -> Any:
    """Send `webhook.test` now, and show the answer."""
    delivery = fleet.try_webhook(access.actor(), webhook_id)
    if delivery.error is None:
        flash(f"The test was delivered. It answered {delivery.status}.", "good")
    else:
        flash(f"The test was not delivered. {delivery.error}", "bad")
    return redirect(url_for("web.webhooks.show", webhook_id=webhook_id))


@bp.route("/<int:webhook_id>/delete", methods=["GET", "POST"])
def delete(webhook_id: int) -> Any:
    """Show what is deleted (GET), or delete the webhook (POST)."""
    actor = access.actor()
    webhook = fleet.get_webhook(actor, webhook_id)
    if request.method == "GET":
        return render_template("webhook_delete.html", webhook=webhook)
    name = webhook.name
    fleet.delete_webhook(actor, webhook_id)
    flash(f"Webhook {name} is deleted.", "good")
    return redirect(url_for("web.webhooks.list_"))


def _form(error: InputInvalid | None = None) -> str:
    # What is said of no field is said of the name: the checks that all names share tell none.
    field = error.context.get("field", "name") if error else None
    return render_template(
        "webhook_new.html",
        events=fleet.EVENTS,
        formats=FORMATS,
        error=error,
        field=field,
    )


def _page(webhook_id: int, made: fleet.CreatedWebhook | None = None) -> str:
    actor = access.actor()
    webhook = fleet.get_webhook(actor, webhook_id)
    found, following = fleet.list_deliveries(actor, webhook_id, limit=PAGE, after=after())
    return render_template(
        "webhook.html",
        webhook=webhook,
        message_format=FORMATS[fleet.MessageFormat(webhook.format)],
        deliveries=found,
        following=following,
        made=made,
    )
