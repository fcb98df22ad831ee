"""`flask tokens`."""

from typing import Any

import click

from app.cli.actor import command_line
from app.cli.groups import CatalogGroup
from app.fleet import accounts
from app.fleet.accounts import tokens as fleet
from app.models import Scope, Token
from headway.cli.output import Number, as_json, echo, paged, print_json, print_list

COLUMNS = (
    *("id", "account_id", "name", "prefix", "kind", "scope", "one_time"),
    *("created_at", "expires_at", "last_used_at", "revoked_at"),
)

SCOPE = "Allow less than the role of the account does."

tokens = CatalogGroup("tokens", help="Manage the tokens of accounts.")


@tokens.command()
@click.option("--account", required=True, help="An account's id or e-mail address.")
@click.option("--name", required=True, help="What it is for.")
@click.option(
    "--expires-days",
    type=click.IntRange(0, 3650),
    help="Days until it expires; 0: never.  [default: 90, or HEADWAY_TOKEN_DAYS if that is less]",
)
@click.option("--scope", type=click.Choice([scope.value for scope in Scope]), help=SCOPE)
@as_json
def create(
    account: str, name: str, expires_days: int | None, scope: str | None, as_json: bool
) -> None:
    """Create a token and print it. It is shown only once."""
    actor = command_line()
    owner = accounts.find_account(actor, account)
    days = fleet.usual_days() if expires_days is None else expires_days or None
    issued, _ = fleet.issue_token(
        actor,
        account_id=owner.id,
        name=name,
        expires_days=days,
        scope=Scope(scope) if scope else None,
    )
    if as_json:
        print_json(row(issued.token) | {"token": issued.text})
        return
    echo("This token is shown only once:", err=True)
    echo(issued.text)


@tokens.command("list")
@click.option("--account", help="An id or e-mail address.")
@paged
@as_json
def list_(account: str | None, limit: int, after: int | None, as_json: bool) -> None:
    """List tokens, without their text."""
    actor = command_line()
    owner = accounts.find_account(actor, account).id if account else None
    found, following = fleet.list_tokens(actor, limit=limit, after=after, account_id=owner)
    print_list([row(token) for token in found], following, COLUMNS, as_json=as_json)


@tokens.command()
@click.argument("token", type=Number(1))
@as_json
def revoke(token: int, as_json: bool) -> None:
    """Revoke a token, given by its id."""
    fleet.revoke_token(command_line(), token)
    if as_json:
        print_json({"id": token, "revoked": True})
        return
    echo(f"Revoked token {token}.")


def row(token: Token) -> dict[str, Any]:
    """A token as JSON values, without its text."""
    return {name: getattr(token, name) for name in COLUMNS}
