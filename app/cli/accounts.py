"""`flask accounts`."""

import sys
from dataclasses import asdict
from datetime import date
from typing import Any

import click

from app.cli.actor import command_line
from app.cli.groups import CatalogGroup
from app.cli.invitation import address
from app.cli.tokens import row as token_row
from app.fleet import accounts as fleet
from app.fleet import projects
from app.fleet.accounts import invitations, oidc, passwords
from app.fleet.projects import grants
from app.models import Account, Role
from headway.cli.fleet.names import PROJECT, project_option
from headway.cli.output import as_json, echo, paged, print_json, print_list, print_record

COLUMNS = (
    *("id", "name", "email", "role", "description", "birthdate"),
    *("location", "ip_source", "disabled", "version", "created_at", "updated_at"),
)
SHORT = ("id", "name", "email", "role")

accounts = CatalogGroup("accounts", help="Manage accounts: people and programs that sign in.")


def _day(_: click.Context, __: click.Parameter, value: str | None) -> date | str | None:
    """Parse a date; an empty text clears the field."""
    try:
        return date.fromisoformat(value) if value else value
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a date. Write it as 1990-02-28.") from error


def _fields(command: Any) -> Any:
    """Decorator: options for the fields of an account."""
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
@click.option("--name", help="Part of the name.")
@click.option("--email")
@click.option("--role", type=click.Choice([role.value for role in Role]))
@paged
@as_json
def list_(as_json: bool, **query: Any) -> None:
    """List accounts."""
    found, following = fleet.list_accounts(command_line(), **query)
    print_list([_row(account) for account in found], following, SHORT, as_json=as_json)


@accounts.command()
@click.argument("account")
@as_json
def show(account: str, as_json: bool) -> None:
    """Show an account, given by id or e-mail address."""
    _show(fleet.find_account(command_line(), account), as_json)


@accounts.command()
@click.argument("account")
@click.option("--name")
@_fields
@click.option("--disabled/--enabled", default=None, help="Whether it can sign in and use tokens.")
@as_json
def change(account: str, as_json: bool, disabled: bool | None, **fields: Any) -> None:
    """Change an account, given by id or e-mail address. An empty value clears a field."""
    actor = command_line()
    found = fleet.find_account(actor, account)
    values = _given(**fields) | ({} if disabled is None else {"disabled": disabled})
    _show(fleet.change_account(actor, found.id, values, version=found.version), as_json)


@accounts.command()
@click.argument("account")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def delete(account: str, yes: bool) -> None:
    """Delete an account and its tokens. It is given by id or e-mail address."""
    actor = command_line()
    found = fleet.find_account(actor, account)
    if not yes:
        click.confirm(f"Delete account {found.id} ({found.name}) and its tokens?", abort=True)
    fleet.delete_account(actor, found.id, version=found.version)
    echo(f"Deleted account {found.id} ({found.name}).")


@accounts.command()
@click.argument("account")
@click.option("--remove", is_flag=True, help="Remove the password instead.")
@click.option("--keep-tokens", is_flag=True, help="Do not revoke the account's tokens.")
def password(account: str, remove: bool, keep_tokens: bool) -> None:
    """Set the password of an account, given by id or e-mail address.

    Prompts for the password on a terminal; otherwise reads one line of standard input. It is not
    an argument, because other users of the machine could read it. Signs out the account's
    browsers, and revokes its tokens.
    """
    actor = command_line()
    found = fleet.find_account(actor, account)
    if remove:
        passwords.remove_password(actor, found.id)
        echo(f"Account {found.id} ({found.name}) has no password any more.")
        return
    if sys.stdin.isatty():
        new = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        new = sys.stdin.readline().rstrip("\r\n")
    passwords.set_password(actor, found.id, new, keep_tokens=keep_tokens)
    echo(f"Account {found.id} ({found.name}) has a new password.")


@accounts.command()
@click.argument("account")
@as_json
def invite(account: str, as_json: bool) -> None:
    """Print a one-time token for an account, valid for a day.

    The account is given by id or e-mail address.
    """
    actor = command_line()
    issued = invitations.invite(actor, fleet.find_account(actor, account).id)
    if as_json:
        print_json(token_row(issued.token) | {"token": issued.text})
        return
    echo(
        "This token is shown only once. It is valid for one sign-in within 24 hours at "
        f"{address()}/sign-in:",
        err=True,
    )
    echo(issued.text)


@accounts.command("forget-provider")
@click.argument("account")
def forget_provider(account: str) -> None:
    """Unlink an account from its identity at the sign-in provider.

    The next sign-in there is matched by e-mail address again.
    """
    actor = command_line()
    found = fleet.find_account(actor, account)
    oidc.forget(actor, found.id)
    echo(f"Account {found.id} ({found.name}) is not linked to the provider any more.")


@accounts.command()
@click.argument("account")
@click.argument("project", type=PROJECT)
@click.argument("role", type=click.Choice([role.value for role in grants.ROLES]))
@as_json
def grant(account: str, project: str, role: str, as_json: bool) -> None:
    """Give an account a role in one project, in place of the one that it has there.

    The account is given by id or e-mail address, the project by name or id. The account's role in
    the fleet holds too, if that is higher.
    """
    actor = command_line()
    found = projects.find_project(actor, project)
    given = grants.give_grant(actor, found.id, account, role)
    if as_json:
        print_json(asdict(given))
        return
    echo(
        f"Account {given.account_id} ({given.account}) has the role {given.role} in "
        f"{given.project}."
    )


@accounts.command()
@click.argument("account")
@click.argument("project", type=PROJECT)
def revoke(account: str, project: str) -> None:
    """Remove the role of an account in one project.

    The account is given by id or e-mail address, the project by name or id.
    """
    actor = command_line()
    found = projects.find_project(actor, project)
    grants.take_grant(actor, found.id, account)
    echo(f"Account {account} has no role of its own in {found.name} any more.")


@accounts.command("grants")
@click.option("--account", help="Of this account: its id or e-mail address.")
@project_option(help="Of this project: its name or id.")
@paged
@as_json
def list_grants(account: str | None, project: str | None, as_json: bool, **page: Any) -> None:
    """List the roles of accounts in single projects."""
    actor = command_line()
    found, following = grants.list_grants(
        actor,
        project_id=projects.find_project(actor, project).id if project else None,
        account_id=fleet.find_account(actor, account).id if account else None,
        **page,
    )
    rows = [asdict(one) for one in found]
    cells = [[one.project, str(one.account_id), one.account, one.role] for one in found]
    columns = ("project", "account", "name", "role")
    print_list(rows, following, columns, cells, as_json=as_json)


def _given(**fields: Any) -> dict[str, Any]:
    """The values of the given options; an empty one clears its field."""
    return {name: value or None for name, value in fields.items() if value is not None}


def _row(account: Account) -> dict[str, Any]:
    return {name: getattr(account, name) for name in COLUMNS}


def _show(account: Account, as_json: bool) -> None:
    print_record(_row(account), as_json=as_json)
