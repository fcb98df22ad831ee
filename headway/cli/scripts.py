"""Commands on a project's scripts that need no database: history, validate, revise, merge."""

from dataclasses import asdict

import click

from headway.cli.options import on_project
from headway.cli.output import as_json, counted, echo, print_json, print_table
from headway.exit_codes import Exit
from headway.project import Project


@click.command()
@on_project
@as_json
def history(project: Project, as_json: bool) -> None:
    """Show a project's revisions, oldest first."""
    if as_json:
        print_json([asdict(revision) for revision in project.revisions])
        return
    print_table(
        ("revision", "stands on", "labels", "message"),
        [
            (
                f"{revision.id} (head)" if revision.id in project.heads else revision.id,
                ", ".join(revision.parents + revision.depends_on) or "base",
                ", ".join(revision.labels),
                revision.message,
            )
            for revision in project.revisions
        ],
    )


@click.command()
@on_project
@as_json
def validate(project: Project, as_json: bool) -> None:
    """Check a project's scripts. Exit with 3 if there are problems."""
    found, environment = project.validate(), project.environment
    revisions = len(project.revisions)
    if as_json:
        environment_json = {"mode": environment.mode, "why": environment.why}
        read = {"revisions": revisions, "heads": project.heads, "environment": environment_json}
        print_json({"found": found} | read)
    else:
        heads = ", ".join(project.heads) or "none yet"
        well = f"{counted(revisions, 'revision')}, head {heads}."
        for line in found or [well]:
            echo(line)
        echo(f"env.py is {environment.mode}: {environment.why}.")
    if found:
        raise click.exceptions.Exit(Exit.FOUND)


@click.command()
@on_project
@click.option("-m", "--message", required=True)
@click.option(
    "--against",
    envvar="HEADWAY_MIGRATE_URL",
    help="URL of a database of the kind that the revision is for.",
)
@click.option("--empty", is_flag=True, help="Write an empty revision, to be filled by hand.")
@click.option("--head", default="head", show_default=True)
def revise(project: Project, message: str, against: str | None, empty: bool, head: str) -> None:
    """Write a revision that brings the newest schema to the models."""
    files = project.revise(message, against=against, empty=empty, head=head)
    for file in files or ["The models are what the revisions make: nothing to write."]:
        echo(str(file))


@click.command()
@on_project
@click.option("-m", "--message", required=True)
def merge(project: Project, message: str) -> None:
    """Write a revision that joins all heads."""
    echo(str(project.merge(message)))
