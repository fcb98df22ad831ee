"""Commands that write files: a script directory, a revision, a merge."""

import re
import sys
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from alembic import command as alembic_command
from alembic.config import Config

from headway.cli.copies import metadata_of
from headway.cli.options import (
    GIVEN,
    Given,
    on_project,
    on_project_with_x,
    own_url,
    place_of,
    span_of_revision,
    url_options,
)
from headway.cli.output import echo
from headway.database import Database
from headway.dialects.urls import DatabaseURL
from headway.errors import command
from headway.plan.sql import render
from headway.schema import autogenerate
from headway.scripts.project import ScriptProject

NO_MODELS = re.compile(r"^target_metadata = None$", re.MULTILINE)
NO_URL = re.compile(r"^sqlalchemy.url = driver://.*$", re.MULTILINE)


@click.command()
@click.argument("directory", default="migrations")
@click.option("-t", "--template", default="generic", show_default=True, metavar="NAME")
@click.option("--package", is_flag=True, help="Write an __init__.py into the folders.")
@click.option("--models", metavar="MODULE:NAME", help="A MetaData, or a Base, for env.py.")
@click.option("--url", help="The database's URL, for alembic.ini: one without a password.")
def init(directory: str, template: str, package: bool, models: str | None, url: str | None) -> None:
    """Make a script directory, by default `migrations`, and its alembic.ini, as Alembic does."""
    given = click.get_current_context().meta.get(GIVEN, Given()).config
    toml = next((name for name in given if name.endswith(".toml")), "pyproject.toml")
    ini = next((name for name in given if not name.endswith(".toml")), "alembic.ini")
    if url and DatabaseURL.parse(url).password:
        raise click.UsageError(
            f"The URL has a password, which {ini} would show to everyone who reads it. Leave --url "
            "out, and give the URL by HEADWAY_MIGRATE_URL or in env.py."
        )
    config = Config(ini, toml_file=toml, cmd_opts=Namespace(quiet=True))
    if models:
        metadata_of(models)
        source = Path(config.get_template_directory(), template, "env.py")
        if source.is_file() and not NO_MODELS.search(source.read_text(encoding="utf-8")):
            raise click.UsageError(
                f"--models is for one database: write them into env.py of {template} yourself."
            )
    env_py = Path(directory) / "env.py"
    had_ini = Path(ini).exists()
    alembic_command.init(config, directory, template=template, package=package)
    if models:
        module, _, name = models.partition(":")
        name = name or "metadata"
        text = f'target_metadata = getattr({name}, "metadata", {name})'
        _replace(env_py, NO_MODELS, f"from {module} import {name}  # noqa: E402\n\n{text}")
    if url and not had_ini:
        _replace(Path(ini), NO_URL, f"sqlalchemy.url = {url.replace('%', '%%')}")
    echo(f"{directory} and {ini} are there.")
    missing = [] if models else [f"target_metadata in {env_py}"]
    missing += [] if url else [f"sqlalchemy.url in {ini}, or HEADWAY_MIGRATE_URL"]
    if missing:
        echo(f"Set {' and '.join(missing)}.")
    echo(f"Then: {command('revision')} --autogenerate -m TEXT, {command('upgrade')}")


def _replace(file: Path, pattern: re.Pattern[str], text: str) -> None:
    before = file.read_text(encoding="utf-8")
    file.write_text(pattern.sub(lambda _: text, before, count=1), encoding="utf-8")


@click.command("list-templates")
def list_templates() -> None:
    """List the templates that `init` can use."""
    alembic_command.list_templates(Config("alembic.ini", stdout=sys.stdout))


def _revision_options(run: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.option(
            "--depends-on",
            multiple=True,
            metavar="REV",
            help="Another revision that has to run first.",
        ),
        click.option("--rev-id", metavar="ID", help="The id to use instead of a generated one."),
        click.option("--version-path", metavar="FOLDER", help="The folder to write it to."),
        click.option("--branch-label", metavar="LABEL", help="A label for its branch."),
        click.option("--splice", is_flag=True, help="Allow a parent that is not a head."),
        click.option(
            "--head", default="head", show_default=True, help="The parent of the new revision."
        ),
        click.option("--sql", is_flag=True, help="Print its SQL too."),
        click.option("-m", "--message", help="Its message."),
    ):
        run = option(run)
    return on_project_with_x(url_options(run))


@click.command()
@_revision_options
@click.option("--autogenerate", is_flag=True, help="From the differences to env.py's models.")
def revision(project: ScriptProject, autogenerate: bool, **options: Any) -> None:
    """Write a revision: an empty one to be filled by hand, or with --autogenerate.

    Autogenerate compares the models with what the revisions make in an empty database beside the
    project's: what stands in that does not matter.
    """
    _write(project, empty=not autogenerate, **options)


@click.command()
@_revision_options
@click.option("--against", hidden=True)
@click.option("--empty", is_flag=True, help="Write an empty revision, to be filled by hand.")
def revise(project: ScriptProject, empty: bool, against: str | None, **options: Any) -> None:
    """Write a revision that brings the newest schema to the models: revision --autogenerate."""
    _write(project, empty=empty, **options | {"url": against or options["url"]})


def _write(
    project: ScriptProject,
    *,
    x: dict[str, str],
    url: str | None,
    empty: bool,
    sql: bool,
    message: str | None,
    rev_id: str | None,
    **options: Any,
) -> None:
    where = url or ("sqlite://" if empty and not sql else own_url(project, x, needed=False))
    files = autogenerate.revise(
        project, message, against=where, empty=empty, x=x, revision_id=rev_id, **options
    )
    for file in files or ["The models are what the revisions make: nothing to write."]:
        echo(str(file))
    if not (files and sql):
        return
    database = Database(*place_of(project, where, x))
    written = [one for one in database.project.revisions if Path(one.path) in files]
    for one in written:
        click.echo(render(span_of_revision(database, one)), nl=False)


@click.command()
@on_project
@click.argument("revisions", nargs=-1)
@click.option("-m", "--message", help="Its message.")
@click.option("--branch-label", metavar="LABEL", help="A label for its branch.")
@click.option("--rev-id", metavar="ID", help="The id to use instead of a generated one.")
def merge(
    project: ScriptProject,
    *,
    revisions: tuple[str, ...],
    message: str | None,
    branch_label: str | None,
    rev_id: str | None,
) -> None:
    """Write a revision that joins heads: those that are named, or all."""
    given = {"branch_label": branch_label, "revision_id": rev_id}
    echo(str(autogenerate.merge(project, message, revisions or "heads", **given)))
