"""`flask drifts`."""

from dataclasses import asdict
from typing import Any

import click

from app.cli.actor import command_line
from app.cli.groups import CatalogGroup
from app.fleet import drift as fleet
from app.fleet import projects
from app.fleet.drift import DifferenceGroup
from headway.cli.fleet.names import PROJECT
from headway.cli.output import as_json, counted, echo, paged, print_json, print_list, print_more

SHORTEST = 12
"""How many characters of a digest are shown; enough to be unique."""

drifts = CatalogGroup("drifts", help="Show how databases differ from their revisions.")


@drifts.command("list")
@click.argument("project", type=PROJECT)
@click.option("--ignored/--not-ignored", default=None, help="Only ignored ones, or only others.")
@click.option("--sql", is_flag=True, help="Print the SQL that would remove each difference.")
@paged
@as_json
def list_(project: str, sql: bool, as_json: bool, **query: Any) -> None:
    """List the differences, the most frequent first."""
    actor = command_line()
    found, following = fleet.list_groups(actor, projects.find_project(actor, project).id, **query)
    if sql and not as_json:
        _print_sql(found)
        print_more(following)
        return
    cells = [
        (
            one.digest[:SHORTEST],
            str(one.databases),
            one.says,
            one.ignored.reason if one.ignored else "",
        )
        for one in found
    ]
    columns = ("difference", "databases", "what", "ignored")
    print_list([_row(one) for one in found], following, columns, cells, as_json=as_json)


@drifts.command()
@click.argument("project", type=PROJECT)
@click.argument("difference")
@paged
@as_json
def databases(project: str, difference: str, as_json: bool, **query: Any) -> None:
    """List the databases that have a difference."""
    actor = command_line()
    project_id = projects.find_project(actor, project).id
    digest = fleet.find_digest(actor, project_id, difference)
    found, following = fleet.list_members(actor, project_id, digest, **query)
    rows = [{"id": one.id, "name": one.name, "address": one.address} for one in found]
    print_list(rows, following, ("id", "name", "address"), as_json=as_json)


@drifts.command()
@click.argument("project", type=PROJECT)
@click.argument("difference")
@click.option("--reason", required=True, help="Why it is accepted.")
@as_json
def ignore(project: str, difference: str, reason: str, as_json: bool) -> None:
    """Ignore a difference in all databases of a project."""
    actor = command_line()
    project_id = projects.find_project(actor, project).id
    kept = fleet.ignore(actor, project_id, difference, reason)
    if as_json:
        accepted = {"reason": kept.reason, "by_name": kept.by_name}
        print_json({"digest": kept.digest, "says": kept.says, "ignored": accepted})
        return
    echo(f"Ignored: {kept.says}.")


@drifts.command()
@click.argument("project", type=PROJECT)
@click.argument("difference")
@as_json
def unignore(project: str, difference: str, as_json: bool) -> None:
    """Stop ignoring a difference."""
    actor = command_line()
    project_id = projects.find_project(actor, project).id
    digest = fleet.find_digest(actor, project_id, difference)
    fleet.unignore(actor, project_id, digest)
    if as_json:
        print_json({"digest": digest, "ignored": None})
        return
    echo("It counts as drift again.")


def _print_sql(found: list[DifferenceGroup]) -> None:
    for one in found:
        many = counted(one.databases, "database")
        for mend in one.mends:
            warning = f"-- Warning: {mend.warning}\n" if mend.warning else ""
            echo(f"-- {one.says} ({many}, {mend.dialect})\n{warning}{mend.sql}\n")
        if not one.mends:
            echo(f"-- {one.says} ({many}): Headway has no SQL for it\n")


def _row(one: DifferenceGroup) -> dict[str, Any]:
    accepted = one.ignored
    return {
        "digest": one.digest,
        "says": one.says,
        "databases": one.databases,
        "mends": [asdict(mend) for mend in one.mends],
        "ignored": {"reason": accepted.reason, "by_name": accepted.by_name} if accepted else None,
    }
