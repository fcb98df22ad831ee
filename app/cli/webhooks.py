"""`flask webhooks`."""

from typing import Any

import click

from app.cli.actor import command_line
from app.cli.groups import CatalogGroup
from app.fleet import webhooks as fleet
from app.fleet.webhooks.deliveries import DeliveryState
from app.models import Delivery, Webhook
from headway.cli.output import Number, as_json, echo, paged, print_json, print_list, without_log
from headway.exit_codes import Exit

COLUMNS = ("id", "name", "address", "format", "events", "by_name", "created_at")
DELIVERY_COLUMNS = (
    *("id", "event", "state", "attempts", "status", "error"),
    *("next_at", "created_at", "delivered_at"),
)
SHORT = ("id", "event", "state", "attempts", "status", "error")

webhooks = CatalogGroup("webhooks", help="Manage webhooks: addresses that receive events.")


@webhooks.command()
@click.argument("name")
@click.option("--url", help="Other users of the machine may see it; better use --url-file.")
@click.option(
    "--url-file",
    type=click.File(encoding="utf-8"),
    help="A file with the URL; - for standard input.",
)
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice([event.value for event in fleet.EventType]),
    help="An event to send; may be repeated.  [default: all]",
)
@click.option(
    "--format",
    "message_format",
    type=click.Choice([one.value for one in fleet.MessageFormat]),
    default=fleet.MessageFormat.JSON.value,
    show_default=True,
    help="The body of its messages: json for programs, or what Slack's incoming webhooks or those "
    "of Microsoft Teams' Workflows take.",
)
@as_json
def create(
    name: str,
    url: str | None,
    url_file: Any,
    *,
    events: tuple[str, ...],
    message_format: str,
    as_json: bool,
) -> None:
    """Create a webhook and print its secret, which is shown only once."""
    if (url is None) == (url_file is None):
        raise click.UsageError("Give one of --url and --url-file.")
    values = {
        "name": name,
        "url": url_file.read() if url is None else url,
        "events": list(events),
        "format": message_format,
    }
    made, _ = fleet.create_webhook(command_line(), values)
    if as_json:
        print_json(_row(made.webhook) | {"secret": made.secret})
        return
    echo(f"Webhook {made.webhook.id}. Its secret is shown only once:", err=True)
    echo(made.secret)


@webhooks.command("list")
@paged
@as_json
def list_(limit: int, after: int | None, as_json: bool) -> None:
    """List webhooks, without their URL and secret."""
    found, following = fleet.list_webhooks(command_line(), limit=limit, after=after)
    rows = [_row(webhook) for webhook in found]
    cells = [[*(str(row[c]) for c in COLUMNS[:4]), " ".join(row["events"])] for row in rows]
    print_list(rows, following, COLUMNS[:5], cells, as_json=as_json)


@webhooks.command()
@click.argument("webhook", type=Number(1))
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def delete(webhook: int, yes: bool) -> None:
    """Delete a webhook, given by its id, and its deliveries."""
    actor = command_line()
    found = fleet.get_webhook(actor, webhook)
    if not yes:
        click.confirm(f"Delete webhook {found.id} ({found.name}, {found.address})?", abort=True)
    fleet.delete_webhook(actor, found.id)
    echo(f"Deleted webhook {found.id} ({found.name}).")


@webhooks.command()
@click.argument("webhook", type=Number(1))
@click.option("--state", type=click.Choice([state.value for state in DeliveryState]))
@paged
@as_json
def deliveries(
    webhook: int, state: str | None, limit: int, after: int | None, as_json: bool
) -> None:
    """List the deliveries of a webhook, newest first."""
    found, following = fleet.list_deliveries(
        command_line(), webhook, limit=limit, after=after, state=state
    )
    print_list([_delivery_row(one) for one in found], following, SHORT, as_json=as_json)


@webhooks.command()
@click.argument("webhook", type=Number(1))
@as_json
def test(webhook: int, as_json: bool) -> None:
    """Send `webhook.test` to a webhook now, and show the result."""
    with without_log("app.fleet.webhooks.deliveries"):
        delivery = fleet.try_webhook(command_line(), webhook)
    if as_json:
        print_json(_delivery_row(delivery))
    elif delivery.error is None:
        echo(f"It answered {delivery.status}.")
    else:
        echo(f"Not delivered. {delivery.error}", err=True)
    if delivery.error is not None:
        raise SystemExit(Exit.FAILED)


def _row(webhook: Webhook) -> dict[str, Any]:
    return {name: getattr(webhook, name) for name in COLUMNS}


def _delivery_row(delivery: Delivery) -> dict[str, Any]:
    return {name: getattr(delivery, name) for name in DELIVERY_COLUMNS} | {"body": delivery.body}
