"""Write revision files: from models (autogenerate), empty, or as a merge; validate them."""

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic
from alembic.autogenerate import RevisionContext
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import Script
from alembic.util import CommandError
from alembic.util import rev_id as new_id
from sqlalchemy import URL, Connection, Engine

from headway.connections.address import Address
from headway.errors import EnvironmentFailed, ScriptsUnreadable
from headway.isolation.isolated import isolated
from headway.plan.plans import translated_error
from headway.schema.build import ReferenceBuilder
from headway.scripts.project import ScriptProject

WIDTH = 32
"""Width of the column `version_num` as Alembic creates it (alembic/ddl/impl.py)."""
GIVE_ANOTHER = "Give a database of the kind that the project is for (`--url URL`)."
GENERIC = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"


def revise(
    project: ScriptProject,
    message: str | None,
    *,
    against: str | URL | Path | Engine | Connection | None = None,
    empty: bool = False,
    head: str = "head",
    splice: bool = False,
    branch_label: str | None = None,
    version_path: str | None = None,
    revision_id: str | None = None,
    depends_on: Sequence[str] = (),
    x: Mapping[str, str] | None = None,
) -> tuple[Path, ...]:
    """Write a revision that brings the newest schema to the project's models; its files.

    The models are those that env.py names (`target_metadata`). They are compared with what the
    revisions make in an empty database of the same kind as `against`: what stands in that
    database does not matter and is not touched. Without `against`, the options file's
    `sqlalchemy.url`, or else SQLite. `empty` writes one to be filled by hand. () if there is
    nothing to write. `x` are Alembic's -x arguments.
    """
    given = dict(x or {})
    address = Address.of(against if against is not None else project.default_url)
    project = project.for_kind(address.url, given)
    requested = {
        "message": message,
        "autogenerate": not empty,
        "sql": False,
        "head": head,
        "splice": splice,
        "branch_label": branch_label,
        "version_path": version_path,
        "rev_id": revision_id,
        "depends_on": list(depends_on) or None,
    }
    with isolated(project.modules):
        return _written(project, address, given, requested, empty=empty)


def merge(
    project: ScriptProject,
    message: str | None,
    revisions: str | Sequence[str] = "heads",
    *,
    revision_id: str | None = None,
    branch_label: str | None = None,
) -> Path:
    """Write a revision that joins heads; returns its file."""
    project = project.for_kind(project.default_url)
    if not project.heads:
        raise ScriptsUnreadable(
            f"There is no revision in {project.folder} to join. Write one first: `revision`."
        )
    with isolated(project.modules), _templated(project), _translated_errors(project, "heads"):
        script = project.directory.generate_revision(
            revision_id or new_id(),
            message,
            refresh=True,
            head=tuple([revisions] if isinstance(revisions, str) else revisions),
            branch_labels=branch_label,
            config=project.config,
        )
    project.forget()
    assert script is not None  # noqa: S101  # Alembic writes one or raises
    return Path(script.path)


def _written(
    project: ScriptProject,
    address: Address,
    x: Mapping[str, str],
    requested: dict[str, Any],
    *,
    empty: bool,
) -> tuple[Path, ...]:
    config = project.config_for(address.url, x)
    environment = project.environment_for(address.url, x)
    if not empty and environment.options.get("target_metadata") is None:
        raise _no_models(project)
    with _templated(project), _translated_errors(project, str(requested["head"])):
        revisions = RevisionContext(config, project.directory, requested)
        if empty:
            context = EnvironmentContext(config, project.directory, fn=lambda *_: [])
            with context:
                context.configure(dialect_name="sqlite", **environment.options_without_callbacks)
                revisions.run_no_autogenerate(tuple(project.heads), context.get_context())
        else:
            _generate(project, address, x, revisions)
        scripts = [one for one in revisions.generate_scripts() if isinstance(one, Script)]
    project.forget()
    return tuple(Path(script.path) for script in scripts)


def _generate(
    project: ScriptProject, address: Address, x: Mapping[str, str], revisions: RevisionContext
) -> None:
    """Compare the models with a scratch database at head, as env.py configures it there."""

    def watch(migration: MigrationContext) -> None:
        if migration.opts.get("target_metadata") is None:
            raise _no_models(project)
        if migration.config is not None and isinstance(migration.config.cmd_opts, Namespace):
            migration.config.cmd_opts.autogenerate = True  # which hooks look at
        revisions.run_autogenerate("heads", migration)
        scripts = revisions.generated_revisions
        if scripts and all(one.is_empty() for one in scripts[0].upgrade_ops_list):
            scripts.clear()  # nothing differs: no file that does nothing

    builder = ReferenceBuilder(project=project, address=address, x=x, advice=GIVE_ANOTHER)
    with address.open() as raw, address.connected(raw) as connection:
        grounds = list(builder.grounds(connection))
        connection.rollback()
        with builder.first(connection, grounds, ("heads",)) as place:
            builder.ask(place, watch)


def _no_models(project: ScriptProject) -> EnvironmentFailed:
    return EnvironmentFailed(
        f"env.py of {project.folder} names no target_metadata, so there are no models to "
        "compare with. Set it there, or write an empty one: `revision` without --autogenerate."
    )


@contextmanager
def _templated(project: ScriptProject) -> Iterator[None]:
    """Use the project's `script.py.mako`, or Alembic's generic one if it has none."""
    directory = project.directory
    if (project.folder / "script.py.mako").is_file():
        yield
        return
    generate = directory._generate_template  # noqa: SLF001  # FRAGILE: what it writes files with

    def from_generic(_source: Any, *args: Any, **kwargs: Any) -> None:
        generate(GENERIC, *args, **kwargs)

    directory._generate_template = from_generic  # type: ignore[assignment,method-assign]  # noqa: SLF001
    try:
        yield
    finally:
        del directory._generate_template  # noqa: SLF001


@contextmanager
def _translated_errors(project: ScriptProject, target: str) -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise translated_error(project, error, target) from error


def validate(project: ScriptProject) -> tuple[str, ...]:
    """Problems of a project's scripts, in sentences; () if there are none."""
    found = []
    if len(project.heads) > 1:
        found.append(f"{len(project.heads)} heads: {', '.join(project.heads)}. Join them: `merge`.")
    found += [
        f"{revision.id} is longer than the {WIDTH} characters that Alembic's version table holds: "
        "SQLite takes it, PostgreSQL and MariaDB do not."
        for revision in project.revisions
        if len(revision.id) > WIDTH
    ]
    return tuple(found)
