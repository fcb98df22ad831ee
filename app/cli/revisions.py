"""`flask revisions`, and `flask projects load`."""

from typing import Any

import click

from app.cli.actor import command_line
from app.cli.groups import CatalogGroup
from app.fleet import projects as known
from app.fleet.counts import positions
from app.fleet.projects import revisions as fleet
from app.models import Kind, Revision
from headway.cli.fleet.names import PROJECT
from headway.cli.output import as_json, echo, paged, print_list, print_record, text

COLUMNS = (
    *("revision", "message", "parents", "depends_on", "labels", "path", "checksum", "present"),
    *("first_seen_at", "last_seen_at", "rollout_id"),
)
DIALECTS = ("sqlite", "postgresql", "mysql")

revisions = CatalogGroup("revisions", help="Show the revisions of all releases of a project.")


@revisions.command("list")
@click.argument("project", type=PROJECT)
@click.option(
    "--present/--missing", default=None, help="Only those in the scripts now, or only others."
)
@paged
@as_json
def list_(project: str, as_json: bool, **query: Any) -> None:
    """List a project's revisions in the order they were first read."""
    actor = command_line()
    project_id = known.find_project(actor, project).id
    found, following = fleet.list_revisions(actor, project_id, **query)
    at = positions.at_revisions(project_id)
    cells = [
        (
            one.revision,
            ", ".join(one.parents + one.depends_on) or "base",
            str(at.get(one.revision, 0)),
            text(one.first_seen_at),
            "yes" if one.present else "no",
            one.message,
        )
        for one in found
    ]
    columns = ("revision", "parents", "databases", "first read", "in the scripts", "message")
    print_list([_row(one, at) for one in found], following, columns, cells, as_json=as_json)


@revisions.command()
@click.argument("project", type=PROJECT)
@click.argument("revision")
@click.option("--sql", type=click.Choice(DIALECTS), help="Print the SQL of upgrade and downgrade.")
@click.option("--script", is_flag=True, help="Print its script.")
@as_json
def show(project: str, revision: str, sql: str | None, script: bool, as_json: bool) -> None:
    """Show a revision, given by its id or the beginning of it.

    The revision may be one that is not in the scripts any more.
    """
    actor = command_line()
    found = known.find_project(actor, project)
    row, *former = fleet.versions_of(actor, found.id, revision)
    if sql:
        _print_sql(row, sql)
    elif script:
        echo(row.script if row.script is not None else "Its source is not known.")
    else:
        values = _row(row, positions.at_revisions(found.id)) | {"edited": len(former)}
        more = {"script": row.script, "sql": row.sql} if as_json else {}
        print_record(values | more, as_json=as_json)


def _print_sql(row: Revision, dialect: str) -> None:
    for kind in (Kind.UPGRADE, Kind.DOWNGRADE):
        sent = (row.sql.get(dialect) or {}).get(kind.value)
        echo(f"-- {kind} {row.revision}: {row.message}")
        echo("-- The SQL depends on the database or its arguments." if sent is None else sent)
        echo()


def _row(row: Revision, at: dict[str, int]) -> dict[str, Any]:
    found = {name: getattr(row, name) for name in COLUMNS}
    return found | {"databases": at.get(row.revision, 0)}
