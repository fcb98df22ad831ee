"""`flask catalog`: show and repair Headway's own database. No command here migrates it."""

from dataclasses import asdict

import click

from app.cli.actor import command_line
from app.cli.groups import CatalogGroup
from app.fleet.core import key_rotation
from app.fleet.reports import service
from headway.cli.output import as_json, echo, paged, print_json, print_list
from headway.exit_codes import Exit
from headway.flask import commands
from headway.types import Position

NEXT_STEP = {
    Position.AT_HEAD: "",
    Position.BEHIND: "Start the service, or run `flask db upgrade`.",
    Position.EMPTY: "Start the service, or run `flask db upgrade`.",
    Position.AHEAD: "A newer release migrated it. Start that one, or run this one degraded.",
    Position.DIVERGED: "Another release migrated it and lacks revisions of this one. Use that one.",
    Position.UNSTAMPED: "Start the service: it finds the revision that has this schema.",
    Position.TORN: "Run `flask catalog repair`.",
    Position.FOREIGN: "This is another program's database: check HEADWAY_DATABASE_URL.",
    Position.UNREACHABLE: "Start the database server, or check HEADWAY_DATABASE_URL.",
}

BOOT = (
    *("id", "at", "release", "revision_from", "revision_to", "state", "seconds"),
    *("host", "pid", "address"),
)

catalog = commands.group(
    "catalog",
    about="Show and repair the catalog, Headway's own database.",
    next_steps=NEXT_STEP,
    several=False,
    cls=CatalogGroup,
)


@catalog.command("rotate-keys")
@as_json
def rotate_keys(as_json: bool) -> None:
    """Encrypt every secret again, with the first of HEADWAY_ENCRYPTION_KEYS.

    Exits with 3 if some secrets cannot be decrypted with any of the keys.
    """
    done = key_rotation.rotate_keys(command_line())
    if as_json:
        print_json(asdict(done))
    else:
        echo(f"Encrypted {done.renewed:,} again; {done.fresh:,} had the first key already.")
        if done.unreadable:
            echo(f"{done.unreadable:,} cannot be decrypted: add their key.", err=True)
    if done.unreadable:
        raise click.exceptions.Exit(Exit.FOUND)


@catalog.command()
@paged
@as_json
def boots(as_json: bool, limit: int, after: int | None) -> None:
    """Show the successful starts, newest first: the release and the revisions before and after."""
    found, following = service.list_boots(command_line(), limit=limit, after=after)
    rows = [{name: getattr(one, name) for name in BOOT} for one in found]
    print_list(rows, following, BOOT, as_json=as_json)
