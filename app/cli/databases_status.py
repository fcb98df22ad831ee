"""`flask databases status`: asked again and again, so it imports no more than it needs."""

from dataclasses import asdict

import click

from app.cli.actor import command_line
from app.fleet.core.permissions import Actor
from app.fleet.reports.overview import Overview, overview
from headway.cli.fleet.names import project_option
from headway.cli.output import as_json, echo, print_json, print_table
from headway.exit_codes import Exit


@click.command()
@project_option()
@click.option("--by", help="Also count by `owner` or `label.<name>`.")
@as_json
@click.option("--check", is_flag=True, help="Exit with 3 unless all are at head.")
def status(project: str | None, by: str | None, as_json: bool, check: bool) -> None:
    """Show the number of databases at each position."""
    actor = command_line()
    seen = overview(actor, project_id=_id_of(actor, project), by=by)
    if as_json:
        print_json(asdict(seen))
    else:
        _print_overview(seen)
    if check and seen.positions.get("at_head", 0) < seen.databases:
        raise click.exceptions.Exit(Exit.FOUND)


def _id_of(actor: Actor, project: str | None) -> int | None:
    if not project:
        return None
    from app.fleet import projects  # noqa: PLC0415  # which runs their code, and so imports much

    return projects.find_project(actor, project).id


def _print_overview(seen: Overview) -> None:
    positions = list(seen.positions)
    rows = [
        [of.name, *(f"{of.positions.get(p, 0):,}" for p in positions), f"{of.databases:,}"]
        for of in seen.projects
    ]
    rows.append(["all", *(f"{seen.positions[p]:,}" for p in positions), f"{seen.databases:,}"])
    print_table(("project", *(p.replace("_", " ") for p in positions), "databases"), rows)
    echo(f"{seen.drifted:,} drifted, {seen.pinned:,} pinned, {seen.retired:,} retired.")
    if seen.by:
        print_table(
            (seen.by, "databases"),
            [(group.value or "none", f"{group.databases:,}") for group in seen.groups],
        )
