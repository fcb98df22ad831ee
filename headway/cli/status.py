"""Commands that show where a database stands. They import nothing that runs revisions."""

from dataclasses import asdict
from functools import partial

import click

from headway import status as verdict
from headway.cli.options import Place, on_place
from headway.cli.output import as_json, echo, print_json, print_table
from headway.exit_codes import Exit
from headway.isolation.isolated import isolated
from headway.types import Position, Status


@click.command()
@on_place
@as_json
@click.option("--check", is_flag=True, help="Exit with 3 unless it is at head.")
def status(place: Place, as_json: bool, check: bool) -> None:
    """Show where a database stands and what to do next."""
    found = verdict.found(*place)
    if as_json:
        print_json(asdict(found) | {"direction": found.direction, "next": found.next_step})
    else:
        _show_status(found)
    if check and found.position is not Position.AT_HEAD:
        raise click.exceptions.Exit(Exit.FOUND)


def _show_status(found: Status) -> None:
    rows = [
        ("position", found.position.value.replace("_", " ")),
        ("current", ", ".join(found.current) or "none"),
        ("head", ", ".join(found.heads) or "none"),
        ("pending", str(len(found.pending))),
    ]
    if found.milliseconds is not None:
        rows.append(("answered in", f"{found.milliseconds:.1f} ms"))
    print_table(("", ""), rows)
    for line in (found.reason, found.next_step):
        if line:
            echo(line)


@click.command()
@partial(on_place, short=False)
@click.option(
    "-v", "--verbose", is_flag=True, help="Also show the message, the parents and the file."
)
@click.option("-c", "--check-heads", is_flag=True, help="Exit with 3 unless it is at every head.")
@as_json
def current(place: Place, verbose: bool, check_heads: bool, as_json: bool) -> None:
    """Show the current revisions of a database, as `alembic current` does."""
    project, address = place.project, place.address
    found = verdict.ask(*place)
    if found.newer and (why := verdict.refusal(address, found, place.policy.words)):
        raise why
    if as_json:
        print_json({"current": found.current, "heads": found.heads})
    else:
        if verbose:
            echo(f"Current revision(s) for {address}:")
        with isolated(project.modules):
            scripts = project.directory.get_all_current(found.current)
        for script in scripts:
            echo(script.cmd_format(verbose))
    if check_heads and set(found.current) != set(found.heads):
        echo(f"{address} is not at every head: `upgrade` brings it there.", err=True)
        raise click.exceptions.Exit(Exit.FOUND)
