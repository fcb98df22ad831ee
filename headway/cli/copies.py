"""Commands for copies of a database, for repair, and for models without revisions."""

import importlib
from dataclasses import asdict
from pathlib import Path

import click
from sqlalchemy import MetaData

from headway.cli.options import on_any_database, on_database
from headway.cli.output import as_json, echo, print_json, show_current
from headway.cli.repair import confirm, repair_options
from headway.database import Database
from headway.isolation.isolated import isolated
from headway.isolation.modules import Modules
from headway.types import Verdict


@click.command()
@on_any_database
@as_json
def snapshot(database: Database, as_json: bool) -> None:
    """Take a snapshot of a SQLite file: complete and checked."""
    where = database.snapshot()
    if as_json:
        kept = str(where) if where else None
        print_json({"database": str(database.address), "snapshot": kept})
        return
    echo(str(where) if where else f"{database.address} has no snapshots: use its server's.")


@click.command()
@on_any_database
@click.argument("copy", type=click.Path(dir_okay=False, path_type=Path))
@as_json
def restore(database: Database, copy: Path, as_json: bool) -> None:
    """Replace a SQLite file by a snapshot; the replaced file is kept beside it."""
    database.restore(copy)
    show_current(database, database.status().current, as_json=as_json)


@click.command()
@on_database
@repair_options
def repair(database: Database, verdict: Verdict | None, yes: bool, dry_run: bool) -> None:
    """Undo the changes of a revision that began and never ended."""
    confirm(database.plan_repair(verdict), database.repair, yes=yes, dry_run=dry_run)


@click.command()
@on_any_database
@click.option(
    "--models",
    required=True,
    metavar="MODULE:NAME",
    help="The MetaData, or the declarative base, of the models.",
)
@click.option("--drop", is_flag=True, help="Drop what the models do not have.")
@click.option("--dry-run", is_flag=True, help="Show the changes without making them.")
@as_json
def sync(database: Database, models: str, drop: bool, dry_run: bool, as_json: bool) -> None:
    """Change a schema to match its models, without revision files."""
    done = database.sync(metadata_of(models), drop=drop, dry_run=dry_run)
    if as_json:
        print_json(asdict(done))
        return
    for change in done.changes:
        echo(change.says)
    for change in done.left:
        echo(f"left, without --drop: {change.says}")
    if not done.changes and not done.left:
        echo("The schema matches the models.")


def metadata_of(place: str) -> MetaData:
    """The MetaData at `module:name`, seen from this folder. Raises a usage error."""
    module, _, name = place.partition(":")
    try:
        # From the folder where we are, as `python -m` would; their `app` is not ours.
        with isolated(Modules((str(Path.cwd()),))):
            found = getattr(importlib.import_module(module), name or "metadata")
    except (ImportError, AttributeError) as error:
        raise click.UsageError(f"--models {place}: {error}.") from error
    metadata = getattr(found, "metadata", found)
    if not isinstance(metadata, MetaData):
        raise click.UsageError(f"--models {place} is neither a MetaData nor a declarative base.")
    return metadata
