"""Write a revision into the folder that the project really uses, ready to run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic
from alembic.autogenerate import RevisionContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import Script
from alembic.util import CommandError
from alembic.util import rev_id as new_id
from sqlalchemy import URL, Connection, Engine

from app.errors import EnvironmentFailed, HeadwayError, MigrationFailed, ScriptsUnreadable
from app.migrator import reference
from app.migrator.address import Address
from app.migrator.alone import alone
from app.migrator.dialects import dialect_of
from app.migrator.plans import in_our_words
from app.migrator.project import Project

WIDTH = 32
"""Of `version_num` as Alembic makes it (alembic/ddl/impl.py)."""
GENERIC = Path(alembic.__file__).parent / "templates" / "generic" / "script.py.mako"


def revise(
    project: Project,
    message: str,
    *,
    against: str | URL | Path | Engine | Connection | None = None,
    empty: bool = False,
    head: str = "head",
    splice: bool = False,
    branch_label: str | None = None,
    version_path: str | None = None,
    revision_id: str | None = None,
    depends_on: Sequence[str] = (),
) -> tuple[Path, ...]:
    """Write a revision that brings the newest schema to the project's models; its files.

    The models are those that env.py names (`target_metadata`). They are compared with what the
    revisions make in an empty database of the same kind as `against`: what stands in that
    database does not matter and is not touched. Without `against`, the options file's
    `sqlalchemy.url`, or else SQLite. `empty` writes one to be filled by hand. () if there is
    nothing to write.
    """
    address = Address.of(against if against is not None else project.default_url)
    project = project.for_kind(address.url)
    asked = {
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
    with alone(project.modules):
        return _written(project, address, asked, empty=empty)


def merge(
    project: Project,
    message: str,
    revisions: str | Sequence[str] = "heads",
    *,
    revision_id: str | None = None,
) -> Path:
    """Write a revision that joins heads; its file."""
    project = project.for_kind(project.default_url)
    if not project.heads:
        raise ScriptsUnreadable(
            f"There is no revision in {project.folder} to join: `revise` first."
        )
    with alone(project.modules), _templated(project), _words(project, "heads"):
        script = project.directory.generate_revision(
            revision_id or new_id(),
            message,
            refresh=True,
            head=tuple([revisions] if isinstance(revisions, str) else revisions),
            config=project.config,
        )
    project.forget()
    assert script is not None  # noqa: S101  # Alembic writes one or raises
    return Path(script.path)


def _written(
    project: Project, address: Address, asked: dict[str, Any], *, empty: bool
) -> tuple[Path, ...]:
    config = project.config_for(address.url)
    environment = project.environment_for(address.url)
    if not empty and environment.options.get("target_metadata") is None:
        raise EnvironmentFailed(
            f"env.py of {project.folder} names no target_metadata, so there are no models to "
            "compare with. Set it there, or write an empty revision (`--empty`)."
        )
    with _templated(project), _words(project, str(asked["head"])):
        revisions = RevisionContext(config, project.directory, asked)
        context = EnvironmentContext(config, project.directory, fn=lambda *_: [])
        with context:
            if empty:
                _render(context, revisions, None, project, environment.untold)
            else:
                with _at_head(project, address) as scratch:
                    _render(context, revisions, scratch, project, environment.untold)
            scripts = [one for one in revisions.generate_scripts() if isinstance(one, Script)]
    project.forget()
    return tuple(Path(script.path) for script in scripts)


def _render(
    context: EnvironmentContext,
    revisions: RevisionContext,
    scratch: Connection | None,
    project: Project,
    options: Any,
) -> None:
    given = dict(options)
    given.setdefault("compare_type", True)
    hooks = given.get("process_revision_directives")

    def directives(migration: Any, heads: Any, directives: list[Any]) -> None:
        if hooks:
            hooks(migration, heads, directives)
        if scratch is not None and directives and directives[0].upgrade_ops.is_empty():
            directives.clear()  # nothing differs: no file that does nothing

    given["process_revision_directives"] = directives
    if scratch is None:
        context.configure(dialect_name="sqlite", **given)
        revisions.run_no_autogenerate(tuple(project.heads), context.get_context())
        return
    context.configure(connection=scratch, **given)
    revisions.run_autogenerate(tuple(project.heads), context.get_context())


@contextmanager
def _at_head(project: Project, address: Address) -> Iterator[Connection]:
    """An empty database of the same kind, brought to head."""
    environment = project.environment_for(address.url)
    options = environment.untold
    climb = reference.climbing(
        project.directory, options=options, arguments=environment.run_arguments
    )
    with (
        address.open() as raw,
        address.connected(raw) as connection,
        dialect_of(connection).scratch(connection) as empty,
    ):
        try:
            for _ in climb(empty):
                pass
        except HeadwayError:
            raise
        except Exception as error:
            said = " ".join(str(getattr(error, "orig", None) or error).split())
            raise MigrationFailed(
                f"The revisions cannot be run on an empty {address.dialect.name} database "
                f"({said}), so there is nothing to compare the models with. Give a database of "
                "the kind that the project is for (`--against URL`); it is not changed."
            ) from error
        yield empty


@contextmanager
def _templated(project: Project) -> Iterator[None]:
    """Write with the project's `script.py.mako`, or with Alembic's own where it has none."""
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
def _words(project: Project, target: str) -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise in_our_words(project, error, target) from error


def validate(project: Project) -> tuple[str, ...]:
    """What is wrong with a project's scripts, in sentences; () if nothing is."""
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
