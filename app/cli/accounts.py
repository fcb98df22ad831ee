"""`flask accounts`."""

import sys
from datetime import date
from typing import Any

import click

from app.cli.actor import command_line
from app.cli.groups import CommandGroup
from app.cli.invitation import address
from app.cli.tokens import row as token_row
from app.fleet import accounts as fleet
from app.fleet.accounts import invitations, oidc, passwords
from app.models import Account, Role
from headway.cli.output import as_json, paged, print_json, print_table, text

COLUMNS = (
    *("id", "name", "email", "role", "description", "birthdate"),
    *("location", "ip_source", "disabled", "version", "created_at", "updated_at"),
)
SHORT = ("id", "name", "email", "role")

accounts = CommandGroup("accounts", help="People and programs that sign in and own databases.")


def _day(_: click.Context, __: click.Parameter, value: str | None) -> date | str | None:
    """A date, or the empty text, which clears one."""
    try:
        return date.fromisoformat(value) if value else value
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is no date. Write it as 1990-02-28.") from error


def _fields(command: Any) -> Any:
    """The options by which a command takes an account's values."""
    for option in (
        click.option("--email"),
        click.option("--description"),
        click.option("--location"),
        click.option("--birthdate", callback=_day, help="YYYY-MM-DD"),
        click.option("--role", type=click.Choice([role.value for role in Role])),
    ):
        command = option(command)
    return command


@accounts.command()
@click.argument("name")
@_fields
@as_json
def create(name: str, as_json: bool, **fields: Any) -> None:
    """Create an account."""
    values = _given(name=name, **fields)
    account, _ = fleet.create_account(command_line(), values)
    _show(account, as_json)


@accounts.command("list")
@click.option("--name", help="A part of the name.")
@click.option("--email")
@click.option("--role", type=click.Choice([role.value for role in Role]))
@paged
@as_json
def list_(as_json: bool, **query: Any) -> None:
    """List accounts."""
    found, following = fleet.list_accounts(command_line(), **query)
    if as_json:
        print_json({"items": [_row(account) for account in found], "next": following})
        return
    print_table(SHORT, [[str(_row(account)[c] or "") for c in SHORT] for account in found])
    if following:
        click.echo(f"More: --after {following}", err=True)


@accounts.command()
@click.argument("account")
@as_json
def show(account: str, as_json: bool) -> None:
    """Show an account, by id or e-mail address."""
    _show(fleet.find_account(command_line(), account), as_json)


@accounts.command()
@click.argument("account")
@click.option("--name")
@_fields
@click.option("--disabled/--enabled", default=None, help="May it sign in and use its tokens?")
@as_json
def change(account: str, as_json: bool, disabled: bool | None, **fields: Any) -> None:
    """Change an account, by id or e-mail address. An empty value clears a field."""
    actor = command_line()
    found = fleet.find_account(actor, account)
    values = _given(**fields) | ({} if disabled is None else {"disabled": disabled})
    _show(fleet.change_account(actor, found.id, values, version=found.version), as_json)


@accounts.command()
@click.argument("account")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(account: str, yes: bool) -> None:
    """Delete an account and its tokens, by id or e-mail address."""
    actor = command_line()
    found = fleet.find_account(actor, account)
    if not yes:
        click.confirm(f"Delete account {found.id} ({found.name}) and its tokens?", abort=True)
    fleet.delete_account(actor, found.id, version=found.version)
    click.echo(f"Deleted account {found.id} ({found.name}).")


@accounts.command()
@click.argument("account")
@click.option("--remove", is_flag=True, help="It signs in by other means only.")
def password(account: str, remove: bool) -> None:
    """Set the password of an account, by id or e-mail address.

    Asks for it on a terminal, else reads a line of standard input: never an argument, which
    others on the machine could read. Its browsers are signed out.
    """
    actor = command_line()
    found = fleet.find_account(actor, account)
    if remove:
        passwords.remove_password(actor, found.id)
        click.echo(f"Account {found.id} ({found.name}) has no password any more.")
        return
    if sys.stdin.isatty():
        new = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        new = sys.stdin.readline().rstrip("\r\n")
    passwords.set_password(actor, found.id, new)
    click.echo(f"Account {found.id} ({found.name}) has a new password.")


@accounts.command()
@click.argument("account")
@as_json
def invite(account: str, as_json: bool) -> None:
    """Print a one-time token for an account, good for a day, by id or e-mail address."""
    actor = command_line()
    issued = invitations.invite(actor, fleet.find_account(actor, account).id)
    if as_json:
        print_json(token_row(issued.token) | {"token": issued.text})
        return
    click.echo(
        f"It is shown only now, and good for one sign-in within 24 hours at {address()}/sign-in:",
        err=True,
    )
    click.echo(issued.text)


@accounts.command("forget-provider")
@click.argument("account")
def forget_provider(account: str) -> None:
    """Untie an account from whoever it is at the provider of sign-ins.

    Its next sign-in there is matched by its e-mail address again.
    """
    actor = command_line()
    found = fleet.find_account(actor, account)
    oidc.forget(actor, found.id)
    click.echo(f"Account {found.id} ({found.name}) is nobody's at the provider any more.")


def _given(**fields: Any) -> dict[str, Any]:
    """The options that were used; an empty one clears its field."""
    return {name: value or None for name, value in fields.items() if value is not None}


def _row(account: Account) -> dict[str, Any]:
    return {name: getattr(account, name) for name in COLUMNS}


def _show(account: Account, as_json: bool) -> None:
    row = _row(account)
    if as_json:
        print_json(row)
        return
    print_table(("", ""), [(name, text(value)) for name, value in row.items()])
