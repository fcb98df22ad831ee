"""New databases at a revision: a copy of a template, where that is proven to be the same.

A template is built twice, the second time as the first database that is asked for, and is kept if
both got the same statements, schema and rows, and nothing in it depends on the moment or the
surroundings. Where that is not so, each database is made by running the revisions.
"""

import atexit
import contextlib
import logging
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import alembic
import sqlalchemy
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL

from headway import status
from headway.connections.address import Address
from headway.connections.session import Policy
from headway.dialects.search_path import refuse_schema
from headway.errors import AddressInvalid, DatabaseExists, HeadwayError
from headway.execution.migration import Move
from headway.execution.run import OnStep
from headway.isolation.files import Files
from headway.isolation.isolated import alone
from headway.plan import plans
from headway.plan.plans import Direction
from headway.proof.contents import Contents, contents, surroundings
from headway.proof.momentary import Trace
from headway.proof.proof import imported_anew, noticing, reads_of
from headway.proof.reads import Reads
from headway.scripts.environment import Environment, Mode
from headway.scripts.project import ScriptProject

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)
PREFIX = "headway_template_"
DEPENDS = "a revision may depend on the moment or its surroundings"
FORMAT = 2  # of what is proven: an older release's template is none


@dataclass(frozen=True, kw_only=True)
class Template:
    """A database to copy, and the files that it was made from beside the scripts."""

    url: URL
    files: Files = field(default_factory=Files)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A database that may become a template."""

    url: URL
    trace: Trace
    reads: Reads
    contents: Contents


def create(
    project: ScriptProject,
    address: Address,
    x: Mapping[str, str],
    policy: Policy,
    target: str,
    *,
    on_step: OnStep | None = None,
) -> tuple[str, ...]:
    """Make a new database at a target, tagged with its version; which one.

    `on_step` is told before each revision that runs in it, and of none where a template is
    copied. Raises DatabaseExists for a database that is there: an empty file counts for none.
    """
    if address.engine is not None or address.connection is not None:
        raise AddressInvalid(
            "A database that is to be created has no connection yet: give its URL. What you are "
            "connected to, `upgrade` brings to head."
        )
    refuse_schema(address.url, "made")
    ends = _ends(project, target)
    built = Move(
        project=project,
        address=address,
        x=x,
        policy=policy,
        direction=Direction.UPGRADE,
        target=target,
        on_step=on_step,
    )
    _clear_the_place(address)
    if not ends or not _may_copy(built):  # without a revision, all projects are alike
        _run(built)
        return ends
    name = _digest(built)
    template = _known(built, name)
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
        and all(map(_is_plain, environment.run_arguments.values()))
    )


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _copied(move: Move, template: Template) -> bool:
    """False if the template is no longer there."""
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
    """Make the database by running the revisions: all of it or nothing."""
    move.address.dialect.make(move.address.url)
    try:
        move.make()
    except BaseException:
        move.address.dialect.drop(move.address.url)  # we made it just now: nobody's data is in it
        raise


def _run_and_prove(move: Move, name: str) -> None:
    """Make the database by running the revisions, and a template if that comes out the same."""
    draft = _draft(move, name)
    if not isinstance(draft, Draft):
        if draft:
            _remember_why(move, name, draft)
        _run(move)
        return
    try:
        trace = Trace()
        _run(replace(move, listener=trace.watch))
        if why := _unlike(draft, trace, move.address.url):
            _remember_why(move, name, why)
        else:
            with contextlib.suppress(HeadwayError):  # the database is made; a template is no need
                move.project.memory["template", name] = _keep(move, draft, name)
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
    """A first build; why it is no template, or None if it failed: the second one will tell."""
    url, dialect = _place(move, name), move.address.dialect
    trace, reads = Trace(), reads_of(_steps(move), connected=True)

    def prepare(steps: list[Any]) -> list[Any]:
        with alone(move.project.modules):
            return imported_anew(steps, reads)

    def watch(migration: MigrationContext) -> None:
        trace.watch(migration)
        if migration.environment_context:
            noticing(migration.environment_context.config, reads)

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
    """Why this draft must not be copied, as far as it tells by itself."""
    if draft.reads.why:
        return f"{DEPENDS}: {draft.reads.why}"
    if draft.contents.beside:
        return "a revision sets something that the server keeps about its database"
    if draft.reads.files.stamps and dialect != "sqlite":
        return "a revision reads other files, which may change while a server keeps its template"
    filled = draft.contents.filled - {draft.trace.version_table}
    return draft.trace.why_momentary(filled, dialect)


def _unlike(draft: Draft, trace: Trace, url: URL) -> str | None:
    """Why this second build is not what the draft is."""
    if trace.digest != draft.trace.digest:
        return "its statements differ from database to database"
    try:
        same = contents(url) == draft.contents
    except Exception:  # noqa: BLE001  # it was made all the same
        return "it cannot be compared"
    return None if same else "what it makes differs from database to database"


def _keep(move: Move, draft: Draft, name: str) -> Template:
    """Give a draft its last name, and drop what was built of scripts that have changed since."""
    if move.address.dialect.name == "sqlite":
        path = _folder(os.getpid()) / f"{name}.sqlite"
        Path(str(draft.url.database)).replace(path)
        return Template(url=draft.url.set(database=str(path)), files=draft.reads.files)
    dialect, url = move.address.dialect, draft.url.set(database=name)
    with contextlib.suppress(DatabaseExists):  # another process was as quick
        dialect.rename(draft.url, name)
    for old in dialect.named(url, name.rpartition("_")[0] + "_"):
        if old != name:
            dialect.discard(url.set(database=old))
    return Template(url=url)


def _known(move: Move, name: str) -> Template | str | None:
    """The template, why there is none, or None where nobody knows yet."""
    memory, dialect = move.project.memory, move.address.dialect
    found: Template | str | None = memory.get(("template", name))
    if found is None and dialect.templates:
        url = move.address.url.set(database=name)
        if dialect.exists(url):
            found = memory["template", name] = Template(url=url)
    if isinstance(found, Template) and not found.files.hold():
        return None
    return found


def _steps(move: Move) -> list[Any]:
    return plans.alembic_steps(move.project, move.direction, move.target, ())


def _ends(project: ScriptProject, target: str) -> tuple[str, ...]:
    """The revisions that a database at this target is at. Found out once."""
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


def _clear_the_place(address: Address) -> None:
    """A file without a byte is what `touch` and `tempfile` leave: a name, no database."""
    path = address.path
    if path is None:
        return
    if path.exists() and path.stat().st_size == 0:
        path.unlink()
    if path.exists():
        raise DatabaseExists(f"{path} is there already. Nothing was changed.")
    for ending in ("-wal", "-journal"):
        beside = Path(f"{path}{ending}")
        if beside.exists() and beside.stat().st_size and not path.exists():
            raise DatabaseExists(
                f"{beside} belongs to a database that is gone, and would be played into a new "
                f"{path.name}. Nothing was changed. Move it away, or bring its database back."
            )


def _digest(move: Move) -> str:
    """The name of the template: another one for whatever it depends on."""
    project, url = move.project, move.address.url
    query = repr(sorted(url.query.items()))
    key = ("place", url.drivername, url.username, url.host, url.port, query)
    if key not in project.memory:
        project.memory[key] = f"{key} {surroundings(url)}"
    environment = project.environment_for(url, move.x)
    parts = [FORMAT, alembic.__version__, sqlalchemy.__version__, platform.python_version()]
    parts += [project.digest, move.target, sorted(move.x.items()), _options(environment)]
    place = project.memory[key]
    digest = sha256(f"{place} {parts}".encode()).hexdigest()[:20]
    where = sha256(place.encode()).hexdigest()[:8]
    return f"{PREFIX}{_of_project(project)}{where}_{digest}"


def _options(environment: Environment) -> list[str]:
    given = {**environment.options, **environment.run_arguments}
    return [f"{name}={given[name]}" for name in sorted(given) if _is_plain(given[name])]


def _place(move: Move, name: str) -> URL:
    if move.address.dialect.name == "sqlite":
        path = _folder(os.getpid()) / f"{name}.partial"
        return URL.create("sqlite", database=str(path))
    return move.address.url.set(database=f"{PREFIX}{os.getpid()}_{name.rpartition('_')[2]}")


@cache
def _folder(_process: int) -> Path:
    """A folder of this process's own, gone with it. A forked child makes another.

    Where the process was killed it is removed by the next one of the same user: it is locked for
    as long as its owner lives. It gets the name by which others find it when it is.
    """
    _sweep(Path(tempfile.gettempdir()))
    made = Path(tempfile.mkdtemp(prefix="headway-new-"))
    folder = made.with_name(made.name.replace("-new-", "-templates-", 1))
    if _locked(made) is None:
        folder = made  # where that cannot be told, nobody else removes it
    else:
        made.rename(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _sweep(place: Path) -> None:
    """Remove the folders of this user's processes that are gone."""
    for folder in place.glob("headway-templates-*"):
        if (handle := _locked(folder)) is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(handle)


def _locked(folder: Path) -> int | None:
    """A handle that locks a folder of this user's until it is closed; None if it cannot be had."""
    if fcntl is None:
        return None
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        if os.fstat(handle).st_uid == os.getuid():
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
    except OSError:
        pass  # its owner lives
    os.close(handle)
    return None


def _of_project(project: ScriptProject) -> str:
    """The same for every release of a project, and no other's: its first revisions."""
    if "bases" not in project.memory:
        scripts = project.scripts.by_id.values()
        bases = sorted(f"{one.id} {one.checksum}" for one in scripts if not one.parents)
        project.memory["bases"] = sha256(" ".join(bases).encode()).hexdigest()[:8]
    return str(project.memory["bases"])
