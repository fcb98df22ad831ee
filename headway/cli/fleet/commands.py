"""`headway fleet …`: a server's fleet, for people who are not on the server."""

from pathlib import Path
from typing import Any

import click

from headway.cli.fleet.client import Client
from headway.cli.fleet.fleets import FLEET
from headway.cli.fleet.names import PROJECT
from headway.cli.fleet.remote import RemoteFleet, remote_fleet
from headway.cli.fleet.tables import PROJECTS, print_page, print_row
from headway.cli.group import LazyGroup
from headway.cli.output import as_json, paged, print_record

VERBS = {
    "whoami": ("headway.cli.fleet.commands", "Show whose token it is, and the role."),
    "projects": ("headway.cli.fleet.commands", "Show projects: Alembic script directories."),
    "databases": ("headway.cli.fleet.databases", "Show, register and check databases."),
    "rollouts": ("headway.cli.fleet.rollouts", "Migrate many databases to one target, in waves."),
    "runs": ("headway.cli.fleet.runs", "Show runs, and start one on a database."),
}


class FleetGroup(LazyGroup):
    """A LazyGroup whose errors are printed by the group that it is a part of."""

    def invoke(self, ctx: click.Context) -> Any:
        return click.Group.invoke(self, ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        # Here and not in the callback, which a shell that completes does not call.
        ctx.meta[FLEET] = lambda: RemoteFleet(
            Client.of(ctx.params.get("server"), ctx.params.get("token_file"))
        )
        return super().resolve_command(ctx, args)


@click.command("fleet", cls=FleetGroup, verbs=VERBS, other_names={})
@click.option(
    "--server",
    envvar="HEADWAY_SERVER",
    show_envvar=True,
    metavar="URL",
    help="The server's address: https://headway.example.org",
)
@click.option(
    "--token-file",
    envvar="HEADWAY_TOKEN_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file with your token, which nobody else may read.",
)
def fleet(server: str | None, token_file: Path | None) -> None:
    """Work with the fleet of a server, as the account that a token belongs to.

    The commands are those of `flask` on the server, and may do what the role of the account allows.
    """


@click.command()
@as_json
def whoami(as_json: bool) -> None:
    """Show whose token it is, and the role."""
    print_record(remote_fleet().client.get("/me"), as_json=as_json)


@click.group()
def projects() -> None:
    """Show projects: Alembic script directories."""


@projects.command("list")
@click.option("--search", help="Part of the name.")
@paged
@as_json
def list_(as_json: bool, **query: Any) -> None:
    """List projects."""
    print_page(PROJECTS, *remote_fleet().client.page("/projects", **query), as_json=as_json)


@projects.command()
@click.argument("project", type=PROJECT)
@as_json
def show(project: str, as_json: bool) -> None:
    """Show a project, given by name or id."""
    print_row(PROJECTS, remote_fleet().client.find("projects", project), as_json=as_json)
