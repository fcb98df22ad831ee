"""`flask accounts`."""

from datetime import date
from typing import Any

import click

from app.cli.actor import command_line
from app.cli.groups import Group
from app.cli.output import as_json, paged, print_json, print_table
from app.fleet import accounts as fleet
from app.models import Account, Role

COLUMNS = (
    *("id", "name", "email", "role", "description", "birthdate"),
    *("location", "ip_source", "version", "created_at", "updated_at"),
)
SHORT = ("id", "name", "email", "role")

accounts = Group("accounts", help="People and programs that sign in and own databases.")


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
@as_json
def change(account: str, as_json: bool, **fields: Any) -> None:
    """Change an account, by id or e-mail address. An empty value clears a field."""
    actor = command_line()
    found = fleet.find_account(actor, account)
    values = _given(**fields)
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
    print_table(("", ""), [(name, _text(value)) for name, value in row.items()])


def _text(value: object) -> str:
    if isinstance(value, date):
        return value.isoformat()
    return "" if value is None else str(value)
