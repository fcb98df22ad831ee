"""`flask databases import`: register files, databases of a server, schemas, CSV, JSON lines."""

from dataclasses import asdict
from glob import iglob
from pathlib import Path
from typing import Any, TextIO

import click
from flask.cli import with_appcontext

from app.cli.actor import command_line
from app.errors import InputInvalid
from app.fleet import databases as fleet
from app.fleet import projects
from app.fleet.databases import import_sources
from headway.cli.fleet.names import project_option
from headway.cli.output import as_json, echo, print_json
from headway.exit_codes import Exit

MOST_SHOWN = 20


@click.command("import")
@with_appcontext
@click.argument("file", required=False, type=click.File(encoding="utf-8-sig"))
@project_option(required=True)
@click.option("--files", help="A pattern for SQLite files: '/data/*.db'.")
@click.option(
    "--server-file",
    type=click.File(encoding="utf-8"),
    help="A file with the URL of a server, or of a database with --schemas.",
)
@click.option("--server", help="The same URL itself. Other users of the machine may see it.")
@click.option("--names", help="A pattern for names of the server's databases; default: all.")
@click.option("--schemas", help="A pattern for names of the database's schemas: 'tenant_*'.")
@click.option(
    "--labels", help="A regular expression for the path or name; its named groups become labels."
)
@as_json
def import_(project: str, file: TextIO | None, as_json: bool, **source: Any) -> None:
    """Register many databases from one source.

    The source is a FILE of CSV or JSON lines (.jsonl), SQLite files, the databases of a server, or
    the schemas of a PostgreSQL database, each of which is registered as one.
    Databases that are registered already are skipped. Exits with 4 if some could not be registered.
    """
    actor = command_line()
    project_id = projects.find_project(actor, project).id
    done = fleet.register_many(actor, project_id, _rows(file, **source))
    if as_json:
        print_json(asdict(done))
    else:
        echo(f"Registered {done.added:,}; {done.known:,} were registered already.")
        for line, why in done.refused[:MOST_SHOWN]:
            echo(f"{line}: {why}", err=True)
        if done.refused:
            echo(f"{len(done.refused):,} could not be registered.", err=True)
    if done.refused:
        raise click.exceptions.Exit(Exit.PARTLY)
    if done.added + done.known:
        return
    if pattern := source["files"]:
        raise click.ClickException(_nothing(pattern))
    if pattern := source["schemas"]:
        raise click.ClickException(f"No schema of this database matches {pattern}.")


def _nothing(pattern: str) -> str:
    place = str(Path.cwd() / Path(pattern).expanduser())
    if any(iglob(place, recursive=True)):  # noqa: PTH207  # as the import does
        return f"Nothing that matches {pattern} is a SQLite database."
    return f"Nothing matches {pattern}."


def _rows(
    file: TextIO | None,
    *,
    files: str | None,
    server: str | None,
    server_file: TextIO | None,
    names: str | None,
    schemas: str | None,
    labels: str | None,
) -> Any:
    if schemas is not None and (file or files or names is not None):
        raise InputInvalid(
            "--schemas looks in one database, whose URL --server-file or --server gives, and "
            "takes none of FILE, --files and --names beside it."
        )
    if len([one for one in (file, files, server, server_file) if one is not None]) != 1:
        raise InputInvalid("Give one of FILE, --files, --server-file and --server.")
    if files:
        return import_sources.from_files(files, labels=labels)
    if file:
        is_json = file.name.endswith((".jsonl", ".ndjson", ".json"))
        return import_sources.from_json_lines(file) if is_json else import_sources.from_csv(file)
    url = server_file.read().strip() if server_file else server
    if schemas is not None:
        return import_sources.from_schemas(str(url), names=schemas, labels=labels)
    return import_sources.from_server(str(url), names=names or "*", labels=labels)
