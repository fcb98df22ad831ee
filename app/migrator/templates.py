"""New databases at a revision: a copy of a template that was built once, by the migrations."""

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path

from sqlalchemy import URL

from app.errors import AddressInvalid, DatabaseExists
from app.migrator import plans
from app.migrator.address import Address
from app.migrator.moves import Move
from app.migrator.plans import Direction
from app.migrator.project import Project
from app.migrator.search_path import refuse_schema
from app.migrator.session import Policy

PREFIX = "headway_template_"


def create(
    project: Project, address: Address, x: Mapping[str, str], policy: Policy, target: str
) -> tuple[str, ...]:
    """Make a new database at a target, tagged with its version; which one.

    Raises DatabaseExists for a database that is there: an empty file counts for none.
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
    )
    _clear_the_place(address)
    template = _template(built) if ends else None  # of a project that has no revision yet
    try:
        address.dialect.make(address.url, template)
    except DatabaseExists:
        raise
    except Exception:
        if not template or address.dialect.exists(template):
            raise
        project.memory.clear()  # another release of these scripts has just dropped it
        address.dialect.make(address.url, _template(built))
    if not template:
        try:
            built.make()
        except BaseException:
            address.dialect.drop(address.url)  # we made it just now: nothing of anybody is in it
            raise
    return ends


def _ends(project: Project, target: str) -> tuple[str, ...]:
    """The revisions that a database at this target is at. Found out once."""
    key = ("ends", target)
    if key not in project.memory:
        names = plans.step_names(plans.alembic_steps(project, Direction.UPGRADE, target, ()))
        project.memory[key] = _heads(project, names)
    return project.memory[key]  # type: ignore[no-any-return]


def _heads(project: Project, names: tuple[str, ...]) -> tuple[str, ...]:
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


def _template(build: Move) -> URL | None:
    """The template for this move's target: built now, or before, for the same scripts."""
    digest = _digest(build)
    if build.address.dialect.name == "sqlite":
        return _file(build, digest)
    return _on_server(build, digest) if build.address.dialect.templates else None


def _digest(build: Move) -> str:
    url, x = build.address.url, sorted(build.x.items())
    place = f"{url.drivername} {url.host} {url.port}"
    told = f"{build.project.digest} {build.target} {place} {x} {build.policy.history}"
    environment = build.project.environment_of(build.address, build.x)
    several = build.project.databases_of(build.address.known_as, build.x)
    if several or environment.per_database:  # what is made depends on which it is
        told += f" {build.address.known_as}"
    return sha256(told.encode()).hexdigest()[:24]


def _plain(build: Move) -> Policy:
    return Policy(history=build.policy.history, release=build.policy.release)


def _file(build: Move, digest: str) -> URL:
    path = _folder(os.getpid()) / f"{digest}.sqlite"
    url = URL.create("sqlite", database=str(path))
    if not path.exists():
        draft = path.with_suffix(".partial")
        draft.unlink(missing_ok=True)
        place = build.address.elsewhere(URL.create("sqlite", database=str(draft)))
        replace(build, address=place, policy=_plain(build)).make()
        draft.rename(path)
    return url


@cache
def _folder(_process: int) -> Path:
    """A folder of this process's own, gone with it. A forked child makes another."""
    folder = tempfile.mkdtemp(prefix="headway-templates-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _on_server(build: Move, digest: str) -> URL:
    """A database beside the others, finished when it has its last name."""
    mine = f"{PREFIX}{_of_project(build.project)}_"
    url = build.address.url.set(database=mine + digest)
    dialect, memory = build.address.dialect, build.project.memory
    if (key := ("template", digest)) in memory or dialect.exists(url):
        memory[key] = True
        return url
    draft = url.set(database=f"{PREFIX}{os.getpid()}_{digest}")
    dialect.discard(draft)
    dialect.make(draft)
    try:
        replace(build, address=build.address.elsewhere(draft), policy=_plain(build)).make()
        with contextlib.suppress(DatabaseExists):  # another process was as quick
            dialect.rename(draft, mine + digest)
    finally:
        dialect.discard(draft)
    for old in dialect.named(url, mine):
        if old != url.database:  # of scripts that have changed since
            dialect.discard(url.set(database=old))
    memory[key] = True
    return url


def _of_project(project: Project) -> str:
    """The same for every release of a project, and no other's: its first revisions."""
    bases = sorted(f"{s.id} {s.checksum}" for s in project.scripts.by_id.values() if not s.parents)
    return sha256(" ".join(bases).encode()).hexdigest()[:8]
