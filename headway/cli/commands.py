"""`headway …` and `flask migrate …`: the commands for any database of any Alembic project.

This module imports click only. Each command is imported when it is called, so that `--help`,
completion, and every other `flask` command, do not pay for it.
"""

import io
import logging
from contextlib import redirect_stdout

import click

from headway.cli.group import DEBUG, LazyGroup
from headway.cli.options import GIVEN, Given, alembic_options

VERBS = {
    "init": ("headway.cli.writing", "Create a script directory and its alembic.ini."),
    "list-templates": ("headway.cli.writing", "List the templates that init can use."),
    "revision": ("headway.cli.writing", "Write a revision: empty, or with --autogenerate."),
    "revise": ("headway.cli.writing", "Write a revision from the models: revision --autogenerate."),
    "merge": ("headway.cli.writing", "Write a revision that joins heads."),
    "upgrade": ("headway.cli.moves", "Upgrade a database to a target."),
    "downgrade": ("headway.cli.moves", "Downgrade a database to a target."),
    "stamp": ("headway.cli.moves", "Record a revision without running any."),
    "create": ("headway.cli.moves", "Create a database at a target."),
    "adopt": ("headway.cli.moves", "Find and stamp the revision that a database has."),
    "ensure-version": ("headway.cli.moves", "Create the version table if it is not there."),
    "wait": ("headway.cli.moves", "Wait until a database is reachable and at head."),
    "boot": ("headway.cli.boot", "Bring a database to head, then run another program."),
    "status": ("headway.cli.status", "Show where a database stands and what to do next."),
    "current": ("headway.cli.status", "Show the current revisions of a database."),
    "plan": ("headway.cli.plans", "Show the steps to a target, their risks and SQL."),
    "rehearse": ("headway.cli.plans", "Run the steps to a target on a copy."),
    "check": ("headway.cli.plans", "Compare a schema with its revisions and models."),
    "heads": ("headway.cli.scripts", "Show the heads of the scripts."),
    "branches": ("headway.cli.scripts", "Show the branch points of the scripts."),
    "history": ("headway.cli.scripts", "Show the revisions, newest first."),
    "show": ("headway.cli.scripts", "Show revisions."),
    "edit": ("headway.cli.scripts", "Open revisions in $EDITOR."),
    "validate": ("headway.cli.scripts", "Check the scripts for problems."),
    "lint": ("headway.cli.lint", "Check new revisions before they are merged."),
    "snapshot": ("headway.cli.copies", "Copy a SQLite file: complete and checked."),
    "restore": ("headway.cli.copies", "Replace a SQLite file by a snapshot."),
    "repair": ("headway.cli.copies", "Undo the changes of a half-applied revision."),
    "sync": ("headway.cli.copies", "Change a schema to match its models, without revision files."),
    "fleet": ("headway.cli.fleet.commands", "Work with a server's fleet, over its API."),
}
"""Each command: where it is, and what help says of it."""

OTHER_NAMES = {"ensure_version": "ensure-version", "list_templates": "list-templates"}
"""As Alembic writes them."""


@click.command(
    "migrate",
    cls=LazyGroup,
    verbs=VERBS,
    other_names=OTHER_NAMES,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="headway", prog_name="headway")
@alembic_options()
@click.option("--raiseerr", is_flag=True, help="Show errors with their traceback.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def migrate(
    ctx: click.Context,
    *,
    config: tuple[str, ...],
    name: str | None,
    x: tuple[str, ...],
    raiseerr: bool,
    quiet: bool,
) -> None:
    """Any database, any Alembic script directory; no catalog is needed.

    The scripts and the database are those that `alembic` would find here: in alembic.ini,
    pyproject.toml or env.py. Alembic's commands and options are the same.

    A URL on the command line can be seen by everyone on the machine: give one that holds a
    password by HEADWAY_MIGRATE_URL or --url-file.
    """
    # The commands say themselves what happens.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    ctx.meta[GIVEN] = Given(config, name, x)
    ctx.meta[DEBUG] = raiseerr
    if quiet:
        ctx.with_resource(redirect_stdout(io.StringIO()))
