"""`flask projects`."""

from typing import Any

import click

from app.cli.actor import command_line
from app.cli.groups import CatalogGroup
from app.fleet import projects as fleet
from app.fleet.projects import scripts
from app.models import Loading, Project
from headway.cli.fleet.names import PROJECT
from headway.cli.fleet.options import x_option
from headway.cli.fleet.tables import PROJECTS, print_page, print_row
from headway.cli.output import as_json, echo, paged, print_json, without_log
from headway.exit_codes import Exit

projects = CatalogGroup("projects", help="Manage projects: Alembic script directories.")


def _fields(command: Any) -> Any:
    """Decorator: options for the fields of a project."""
    for option in (
        click.option("--notes"),
        click.option(
            "--refresh-seconds",
            type=click.IntRange(0, 86_400),
            help="Seconds between two status checks of all its databases; 0: never.",
        ),
        x_option("An argument for env.py, as Alembic's -x."),
        click.option(
            "--requires-approval/--no-requires-approval",
            default=None,
            help="Whether what changes its databases waits until another account approves it.",
        ),
        click.option("--ini", help="Its alembic.ini or pyproject.toml."),
    ):
        command = option(command)
    return command


@projects.command()
@click.argument("name")
@click.argument("location")
@_fields
@as_json
def create(name: str, location: str, as_json: bool, **fields: Any) -> None:
    """Create a project from a script directory: a folder, or package:folder.

    A worker, or `flask projects load`, reads its scripts.
    """
    project, _ = fleet.create_project(
        command_line(), _given(name=name, location=location, **fields)
    )
    _show(project, as_json)


@projects.command("list")
@click.option("--search", help="Part of the name.")
@paged
@as_json
def list_(as_json: bool, **query: Any) -> None:
    """List projects."""
    found, following = fleet.list_projects(command_line(), **query)
    print_page(PROJECTS, [_row(project) for project in found], following, as_json=as_json)


@projects.command()
@click.argument("project", type=PROJECT)
@as_json
def show(project: str, as_json: bool) -> None:
    """Show a project, given by name or id."""
    _show(fleet.find_project(command_line(), project), as_json)


@projects.command()
@click.argument("project", type=PROJECT)
@click.option("--name")
@click.option("--location")
@_fields
@as_json
def change(project: str, as_json: bool, **fields: Any) -> None:
    """Change a project, given by name or id. An empty value clears a field."""
    actor = command_line()
    found = fleet.find_project(actor, project)
    changed = fleet.change_project(actor, found.id, _given(**fields), version=found.version)
    _show(changed, as_json)


@projects.command()
@click.argument("project", type=PROJECT)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@as_json
def delete(project: str, yes: bool, as_json: bool) -> None:
    """Delete a project that never had a database. It is given by name or id. Its files stay."""
    actor = command_line()
    found = fleet.find_project(actor, project)
    if not yes:
        click.confirm(f"Delete project {found.id} ({found.name})?", abort=True, err=as_json)
    fleet.delete_project(actor, found.id, version=found.version)
    if as_json:
        print_json({"id": found.id, "name": found.name, "deleted": True})
        return
    echo(f"Deleted project {found.id} ({found.name}).")


@projects.command()
@click.argument("project", type=PROJECT)
@as_json
def load(project: str, as_json: bool) -> None:
    """Read a project's scripts now, in this process. Exits with 78 if they cannot be used."""
    project_id = fleet.find_project(command_line(), project).id
    with without_log("app.fleet.projects.scripts"):
        found = scripts.load(project_id)
    if as_json:
        names = ("id", "name", "state", "problem", "heads", "environment", "loaded_at")
        print_json({name: getattr(found, name) for name in names})
    elif found.state == Loading.READY:
        echo(f"{found.name} is ready. Head: {', '.join(found.heads)}.")
    else:
        echo(f"{found.name} cannot be used: {found.problem}", err=True)
    if found.state != Loading.READY:
        raise click.exceptions.Exit(Exit.MISCONFIGURED)


def _given(
    x: dict[str, str],
    refresh_seconds: int | None,
    requires_approval: bool | None,
    **fields: Any,
) -> dict[str, Any]:
    """The values of the given options; an empty one clears its field."""
    values: dict[str, Any] = {k: v or None for k, v in fields.items() if v is not None}
    if x:
        values["x"] = x
    if refresh_seconds is not None:
        values["refresh_seconds"] = refresh_seconds
    if requires_approval is not None:
        values["requires_approval"] = requires_approval
    return values


def _row(project: Project) -> dict[str, Any]:
    return {name: getattr(project, name) for name in PROJECTS.fields}


def _show(project: Project, as_json: bool) -> None:
    print_row(PROJECTS, _row(project), as_json=as_json)
