"""New databases at a revision: copied from a template if that is proven to give the same.

A template is built twice, the second time as the first database that is asked for, and is kept if
both got the same statements, schema and rows, and nothing in it depends on the moment or the
surroundings. Where that is not so, each database is made by running the revisions. A tenant's
schema has no template: its revisions are run or, as those of an upgrade, replayed.
"""

import contextlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL

from headway import status
from headway.connections import places
from headway.connections.address import Address
from headway.connections.session import Policy
from headway.dialects.search_path import tenant_of
from headway.dialects.urls import DatabaseURL
from headway.errors import AddressInvalid, DatabaseExists, DatabaseTorn, HeadwayError
from headway.execution.migration import Move
from headway.execution.run import OnStep
from headway.execution.templates import (
    Draft,
    Template,
    draft_url,
    find_template,
    is_plain,
    keep,
    template_name,
)
from headway.isolation.isolated import isolated
from headway.plan import plans
from headway.plan.plans import Direction
from headway.proof.contents import contents
from headway.proof.momentary import Trace
from headway.proof.proof import freshly_imported, reads_of, recording_config
from headway.scripts.environment import Mode
from headway.scripts.project import ScriptProject

logger = logging.getLogger(__name__)
DEPENDS = "a revision may depend on the moment or its surroundings"


def create(
    project: ScriptProject,
    address: Address,
    x: Mapping[str, str],
    policy: Policy,
    target: str,
    *,
    on_step: OnStep | None = None,
) -> tuple[str, ...]:
    """Create a database at a target and stamp it; returns the revisions that it is at.

    Of a URL that names a schema, that schema, in a database that is there.

    `on_step` is called before each revision that runs in it; none does if a template is copied.
    Raises DatabaseExists if there is one; an empty SQLite file counts as missing. Raises
    DatabaseMissing for a schema whose database is not there.
    """
    if address.engine is not None or address.connection is not None:
        raise AddressInvalid(
            "A database that is to be created has no connection yet: give its URL. If it already "
            "exists, use `upgrade`."
        )
    is_tenant = tenant_of(address.url, "made") is not None
    ends = _ends(project, target)
    built = Move(
        project=project,
        address=address,
        x=x,
        policy=policy,
        direction=Direction.UPGRADE,
        target=target,
        on_step=on_step,
        is_new=is_tenant,
    )
    _require_free_path(address)
    if not ends or is_tenant or not _may_copy(built):  # without a revision, all projects are alike
        _run(built)
        return ends
    name = template_name(built)
    template = find_template(built, name)
    if isinstance(template, Template) and _copied(built, template):
        return ends
    if isinstance(template, str):  # why there is none
        _run(built)
    else:
        _run_and_prove(built, name)
    return ends


def _may_copy(move: Move) -> bool:
    dialect = move.address.dialect
    environment = move.project.environment_of(move.address, move.x)
    return (
        (dialect.name == "sqlite" or dialect.templates)
        and not move.policy.history  # which says when each revision was run, and by whom
        and environment.mode is not Mode.EXECUTED
        and "on_version_apply" not in environment.options
        and all(map(is_plain, environment.run_arguments.values()))
    )


def _copied(move: Move, template: Template) -> bool:
    """Copy the template; False if it is no longer there."""
    try:
        versions = status.version_table(move.project, move.address, move.x).name
        move.address.dialect.make(move.address.url, template.url, versions)
    except DatabaseExists:
        raise
    except Exception:
        if move.address.dialect.exists(template.url):
            raise
        move.project.memory.clear()  # another release of these scripts has just dropped it
        return False
    return True


def _run(move: Move) -> None:
    """Create the database and run the revisions; it is dropped again if one fails."""
    places.make(move.address)
    try:
        move.make()
    except BaseException as error:
        left = _taken_back(move, error)
        if not left or not isinstance(error, HeadwayError):
            raise
        failure = type(error)(f"{error} {left}", **error.context)
        failure.sent = error.sent
        raise failure from error


def _taken_back(move: Move, error: BaseException) -> str:
    """Drop what was made a moment ago; what stays of it, in a sentence, or ""."""
    schema = DatabaseURL.of(move.address.url).schema
    try:
        places.drop(move.address, move.policy)  # nobody's data is in it yet
    except HeadwayError as why:
        if schema is None:
            raise
        return f"The schema {schema}, which was made for it, stays: {why}"
    applied = error.context.get("applied") if isinstance(error, HeadwayError) else ()
    if schema is None or not (applied or isinstance(error, DatabaseTorn)):
        return ""
    return (
        f"The schema {schema}, which was made for it, is dropped again; what its revisions made "
        "outside of it stays."
    )


def _run_and_prove(move: Move, name: str) -> None:
    """Create the database by its revisions, and keep a template if the result is the same."""
    draft = _draft(move, name)
    if not isinstance(draft, Draft):
        if draft:
            _remember_why(move, name, draft)
        _run(move)
        return
    try:
        trace = Trace()
        _run(replace(move, listener=trace.watch))
        if why := _why_different(draft, trace, move.address.url):
            _remember_why(move, name, why)
        else:
            with contextlib.suppress(HeadwayError):  # the database is made; a template is no need
                move.project.memory["template", name] = keep(move, draft, name)
    finally:
        move.address.dialect.discard(draft.url)


def _remember_why(move: Move, name: str, why: str) -> None:
    move.project.memory["template", name] = why
    logger.info(
        "New databases of %s are made by running its revisions, from no template: %s.",
        move.project.folder,
        why,
    )


def _draft(move: Move, name: str) -> Draft | str | None:
    """Build a template draft; else why it is none, or None if the build failed."""
    url, dialect = draft_url(move, name), move.address.dialect
    trace, reads = Trace(), reads_of(_steps(move), connected=True)

    def prepare(steps: list[Any]) -> list[Any]:
        with isolated(move.project.modules):
            return freshly_imported(steps, reads)

    def watch(migration: MigrationContext) -> None:
        trace.watch(migration)
        if migration.environment_context:
            recording_config(migration.environment_context.config, reads)

    built = replace(
        move,
        address=move.address.elsewhere(url),
        policy=Policy(release=move.policy.release),
        on_step=None,
        listener=watch,
        prepare=prepare,
    )
    dialect.discard(url)
    try:
        _run(built)
        found = contents(url)
    except Exception:  # noqa: BLE001  # it is no more than an attempt
        dialect.discard(url)
        return f"{DEPENDS}: {reads.why}" if reads.why else None
    draft = Draft(url=url, trace=trace, reads=reads, contents=found)
    if why := _why_not(draft, dialect.name):
        dialect.discard(url)
        return why
    return draft


def _why_not(draft: Draft, dialect: str) -> str | None:
    """Why this draft must not be copied, judged by itself."""
    if draft.reads.why:
        return f"{DEPENDS}: {draft.reads.why}"
    if draft.contents.beside:
        return "a revision sets something that the server keeps about its database"
    if draft.reads.files.stamps and dialect != "sqlite":
        return "a revision reads other files, which may change while a server keeps its template"
    filled = draft.contents.filled - {draft.trace.version_table}
    return draft.trace.why_momentary(filled, dialect)


def _why_different(draft: Draft, trace: Trace, url: URL) -> str | None:
    """Why this second build is not equal to the draft; None if it is."""
    if trace.digest != draft.trace.digest:
        return "its statements differ from database to database"
    try:
        same = contents(url) == draft.contents
    except Exception:  # noqa: BLE001  # it was made all the same
        return "it cannot be compared"
    return None if same else "what it makes differs from database to database"


def _steps(move: Move) -> list[Any]:
    return plans.alembic_steps(move.project, move.direction, move.target, ())


def _ends(project: ScriptProject, target: str) -> tuple[str, ...]:
    """The revisions that a database at this target is at. Cached."""
    key = ("ends", target)
    if key not in project.memory:
        names = plans.step_names(plans.alembic_steps(project, Direction.UPGRADE, target, ()))
        project.memory[key] = _heads(project, names)
    return project.memory[key]  # type: ignore[no-any-return]


def _heads(project: ScriptProject, names: tuple[str, ...]) -> tuple[str, ...]:
    below = {
        parent
        for name in names
        for parent in (
            *project.scripts.by_id[name].parents,
            *project.scripts.by_id[name].depends_on,
        )
    }
    return tuple(sorted(set(names) - below))


def _require_free_path(address: Address) -> None:
    """A file without a byte is what `touch` and `tempfile` leave: a name, no database."""
    path = address.path
    if path is None:
        return
    if path.exists() and path.stat().st_size == 0:
        path.unlink()
    if path.exists():
        raise DatabaseExists(f"{path} already exists. Nothing was changed.")
    for ending in ("-wal", "-journal"):
        beside = Path(f"{path}{ending}")
        if beside.exists() and beside.stat().st_size and not path.exists():
            raise DatabaseExists(
                f"{beside} belongs to a database that is gone, and SQLite would apply it to a new "
                f"{path.name}. Nothing was changed. Move it away, or restore its database."
            )
