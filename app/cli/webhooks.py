"""`flask webhooks`."""

from typing import Any

import click

from app.cli.actor import command_line
from app.cli.groups import Group
from app.fleet import webhooks as fleet
from app.fleet.webhooks.deliveries import DeliveryState
from app.models import Delivery, Webhook
from headway.cli.output import Number, as_json, paged, print_json, print_table, text, without_log
from headway.exit_codes import Exit

COLUMNS = ("id", "name", "address", "events", "by_name", "created_at")
TOLD = (
    *("id", "event", "state", "attempts", "status", "error"),
    *("next_at", "created_at", "delivered_at"),
)
SHORT = ("id", "event", "state", "attempts", "status", "error")

webhooks = Group("webhooks", help="Addresses that are told what happened.")


@webhooks.command()
@click.argument("name")
@click.option("--url", help="Where to. Others may see it in the list of processes: --url-file.")
@click.option(
    "--url-file",
    type=click.File(encoding="utf-8"),
    help="A file that holds the URL; - for what is typed or piped in.",
)
@click.option(
    "--event",
    "events",
    multiple=True,
    type=click.Choice([event.value for event in fleet.Happening]),
    help="What it is told; may be given again. All if none is.",
)
@as_json
def create(
    name: str, url: str | None, url_file: Any, events: tuple[str, ...], as_json: bool
) -> None:
    """Create a webhook and print its secret, this once."""
    if (url is None) == (url_file is None):
        raise click.UsageError("Where to? Give --url or --url-file.")
    values = {"name": name, "url": url_file.read() if url is None else url, "events": list(events)}
    made, _ = fleet.create_webhook(command_line(), values)
    if as_json:
        print_json(_row(made.webhook) | {"secret": made.secret})
        return
    click.echo(f"Webhook {made.webhook.id}. Its secret is shown only now:", err=True)
    click.echo(made.secret)


@webhooks.command("list")
@paged
@as_json
def list_(limit: int, after: int | None, as_json: bool) -> None:
    """List webhooks, never their URL or secret."""
    found, following = fleet.list_webhooks(command_line(), limit=limit, after=after)
    rows = [_row(webhook) for webhook in found]
    if as_json:
        print_json({"items": rows, "next": following})
        return
    cells = [[*(str(row[c]) for c in COLUMNS[:3]), " ".join(row["events"])] for row in rows]
    print_table(COLUMNS[:4], cells)
    _more(following)


@webhooks.command()
@click.argument("webhook", type=Number(1))
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(webhook: int, yes: bool) -> None:
    """Delete a webhook by its id, and what it was told."""
    actor = command_line()
    found = fleet.get_webhook(actor, webhook)
    if not yes:
        click.confirm(f"Delete webhook {found.id} ({found.name}, {found.address})?", abort=True)
    fleet.delete_webhook(actor, found.id)
    click.echo(f"Deleted webhook {found.id} ({found.name}).")


@webhooks.command()
@click.argument("webhook", type=Number(1))
@click.option("--state", type=click.Choice([state.value for state in DeliveryState]))
@paged
@as_json
def deliveries(
    webhook: int, state: str | None, limit: int, after: int | None, as_json: bool
) -> None:
    """List what a webhook was told or is to be told, newest first."""
    found, following = fleet.list_deliveries(
        command_line(), webhook, limit=limit, after=after, state=state
    )
    if as_json:
        print_json({"items": [_told(one) for one in found], "next": following})
        return
    rows = [_told(one) for one in found]
    print_table(SHORT, [[text(row[c]) for c in SHORT] for row in rows])
    _more(following)


@webhooks.command()
@click.argument("webhook", type=Number(1))
@as_json
def test(webhook: int, as_json: bool) -> None:
    """Tell a webhook `webhook.test` now, and say how that went."""
    with without_log("app.fleet.webhooks.deliveries"):
        told = fleet.try_webhook(command_line(), webhook)
    if as_json:
        print_json(_told(told))
    elif told.error is None:
        click.echo(f"It answered {told.status}.")
    else:
        click.echo(f"Not heard. {told.error}", err=True)
    if told.error is not None:
        raise SystemExit(Exit.FAILED)


def _row(webhook: Webhook) -> dict[str, Any]:
    return {name: getattr(webhook, name) for name in COLUMNS}


def _told(delivery: Delivery) -> dict[str, Any]:
    return {name: getattr(delivery, name) for name in TOLD} | {"body": delivery.body}


def _more(following: int | None) -> None:
    if following:
        click.echo(f"More: --after {following}", err=True)
