"""Commands that show a project's scripts: heads, branches, history, show, edit, validate."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from alembic.util import open_in_editor

from headway import status as verdict
from headway.cli.options import on_project, on_project_with_x, place_of, url_options
from headway.cli.output import as_json, counted, echo, print_json
from headway.exit_codes import Exit
from headway.isolation.isolated import isolated
from headway.schema import autogenerate
from headway.scripts.project import ScriptProject

if TYPE_CHECKING:
    from alembic.script import Script

verbose_option = click.option(
    "-v", "--verbose", is_flag=True, help="Also show the file, the parents and the date."
)


@click.command()
@on_project
@verbose_option
@click.option(
    "--resolve-dependencies", is_flag=True, help="Leave out heads that other revisions depend on."
)
def heads(project: ScriptProject, verbose: bool, resolve_dependencies: bool) -> None:
    """Show the heads of the scripts."""
    wanted = "heads" if resolve_dependencies else project.heads
    for script in _scripts(project, wanted):
        echo(script.cmd_format(verbose, include_branches=True, tree_indicators=False))


@click.command()
@on_project
@verbose_option
def branches(project: ScriptProject, verbose: bool) -> None:
    """Show the branch points of the scripts, and the revisions that follow them."""
    for script in _walked(project):
        if not script.is_branch_point:
            continue
        echo(script.cmd_format(verbose, include_branches=True))
        for following in _scripts(project, tuple(script.nextrev)):
            line = following.cmd_format(False, include_branches=True, include_doc=verbose)
            echo(f"{' ' * len(script.revision)} -> {line}")
        echo()


@click.command()
@on_project_with_x
@url_options
@click.option(
    "-r", "--rev-range", metavar="START:END", help="Show only this range; `current` is allowed."
)
@verbose_option
@click.option("-i", "--indicate-current", is_flag=True, help="Mark where the database stands.")
@as_json
def history(
    project: ScriptProject,
    *,
    x: dict[str, str],
    url: str | None,
    rev_range: str | None,
    verbose: bool,
    indicate_current: bool,
    as_json: bool,
) -> None:
    """Show the revisions, newest first; as JSON, oldest first."""
    if rev_range is not None and rev_range.count(":") != 1:
        raise click.UsageError("A range is START:END, START: or :END.")
    if as_json:
        print_json([asdict(revision) for revision in project.revisions])
        return
    base, _, head = (rev_range or ":").strip().partition(":")
    asks = indicate_current or "current" in (base, head)
    current = _current(project, x, url) if asks else ()
    if head == "current" and not current:
        return
    lower: Any = current if base == "current" else base
    upper: Any = current if head == "current" else head
    for script in _walked(project, lower or "base", upper or "heads"):
        if indicate_current:
            script._db_current_indicator = script.revision in current  # noqa: SLF001  # FRAGILE
        shown = {"include_branches": True, "include_doc": True, "include_parents": True}
        echo(script.cmd_format(verbose, **shown))


@click.command()
@on_project_with_x
@url_options
@click.argument("revisions", nargs=-1, required=True)
def show(
    project: ScriptProject, x: dict[str, str], url: str | None, revisions: tuple[str, ...]
) -> None:
    """Show revisions; `current` shows those that the database is at."""
    for script in _named(project, x, url, revisions):
        echo(script.log_entry)


@click.command()
@on_project_with_x
@url_options
@click.argument("revisions", nargs=-1, required=True)
def edit(
    project: ScriptProject, x: dict[str, str], url: str | None, revisions: tuple[str, ...]
) -> None:
    """Open revisions in $EDITOR; `current` opens those that the database is at."""
    for script in _named(project, x, url, revisions):
        open_in_editor(script.path)


def _named(
    project: ScriptProject, x: dict[str, str], url: str | None, names: tuple[str, ...]
) -> "list[Script]":
    found = []
    for name in names:
        at = _current(project, x, url) if name == "current" else name
        found += _scripts(project, at)
    return found


def _walked(project: ScriptProject, lower: Any = "base", upper: Any = "heads") -> "list[Script]":
    with isolated(project.modules):
        return list(project.directory.walk_revisions(lower, upper))


def _scripts(project: ScriptProject, names: str | tuple[str, ...]) -> "list[Script]":
    with isolated(project.modules):
        return [one for one in project.directory.get_revisions(names) if one is not None]


def _current(project: ScriptProject, x: dict[str, str], url: str | None) -> tuple[str, ...]:
    return verdict.ask(*place_of(project, url, x)).current


@click.command()
@on_project
@as_json
def validate(project: ScriptProject, as_json: bool) -> None:
    """Check a project's scripts. Exit with 3 if there are problems."""
    found, environment = autogenerate.validate(project), project.environment
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
