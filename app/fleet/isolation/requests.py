"""The requests that a child process serves, on a project's scripts and its databases.

Runs only in the child, which has no access to the catalog: see `child`.
"""

import logging
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL

from app.errors import CheckFailed, ProjectNotReady
from app.fleet.isolation import find
from app.fleet.isolation.messages import (
    Answer,
    EnvironmentUse,
    Facts,
    ProbeResult,
    ProbeTarget,
    ScriptLocation,
    Target,
    Version,
)
from app.fleet.isolation.pool import AT_ONCE, Call, Pool, TimedOut
from headway.connections import places
from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.connections.sizes import size_of, sizes
from headway.database import Database
from headway.dialects.search_path import tenant_of
from headway.errors import HeadwayError, StillNeeded
from headway.execution.migration import Move
from headway.plan import register
from headway.plan.graph import SQL_OPTIONS
from headway.plan.plans import Direction
from headway.project import Extended, Project
from headway.scripts.environment import Environment
from headway.types import Outcome, Position, Status
from headway.words import Words

log = logging.getLogger(__name__)

DROP_LOCK_SECONDS = 30.0
"""How long a drop waits for who migrates the database."""
CHECK_SECONDS = 60.0
"""How long the query of a check may take."""
WORDS = Words(
    settings={"x": "an -x argument of the project (or of this database)", "schema": "{schema}"}
)
"""How what the library says is understood here."""
METHODS = ("status", "stamp", "check", "snapshot", "restore")


class ParentChannel(Protocol):
    """The connection back to the parent process."""

    def send(self, kind: str, value: object) -> None:
        """Send a part of the answer."""

    def ask(self, name: str, *arguments: object) -> Any:
        """Call back into the parent during a request: its result. Raises what the parent raises."""

    def tell(self, name: str, *arguments: object) -> None:
        """Call back into the parent, which does not answer."""

    def limit_memory(self) -> None:
        """Set the process's limit of memory, if it has one."""


class Requests:
    """The requests that the parent can send; each method is one."""

    def __init__(self, channel: ParentChannel) -> None:
        self.channel = channel

    def describe(self, place: ScriptLocation, known: str | None) -> Facts | None:
        """The facts of a project's scripts; None if their digest is still `known`."""
        project = _projects.newest(place)
        if project.digest == known:
            return None
        scripts, config = project.scripts, project.config
        options = filter(None, (config.config_file_name, config.toml_file_name))
        return Facts(
            digest=project.digest,
            heads=project.heads,
            parents={one.id: one.parents + one.depends_on for one in scripts.by_id.values()},
            folder=project.folder,
            version_folders=project.version_folders,
            options=tuple(map(Path, options)),
        )

    def move(self, target: Target, way: str) -> Outcome:
        """Upgrade or downgrade.

        The parent is called back with what is found under the lock: it gives the target, or
        refuses. It hears of each step.
        """
        member, tell = _database(target), self.channel.tell
        return Move(
            project=member.project,
            address=member.address,
            x=member.x,
            policy=member.policy,
            direction=Direction(way),
            target="heads",
            on_found=partial(self.channel.ask, "found"),
            on_step=partial(tell, "step"),
            waiting=partial(tell, "waiting"),
        ).make()

    def do(self, target: Target, what: str, *arguments: Any) -> Any:
        """`status`, `stamp`, `check`, `snapshot` or `restore`."""
        if what not in METHODS:
            raise ValueError(what)
        return getattr(_database(target), what)(*arguments)

    def rehearse(self, target: Target, to: str, direction: str) -> Any:
        """The revisions that a migration would run, and its outcome on a copy."""
        member = _database(target)
        plan = member.plan(to, direction)
        return tuple(step.revision for step in plan.steps), member.rehearse(plan)

    def create(self, target: Target, to: str) -> Status:
        """Create the database at a revision, and return its status."""
        member = _database(target)
        member.create(to, on_step=partial(self.channel.ask, "step"))
        return member.status()

    def wait_for_lock(self, target: Target, seconds: float) -> None:
        """Return once no process migrates the database. Raises DatabaseLocked after `seconds`."""
        member = _database(target)
        path = member.address.path
        if path is None or path.exists():
            with held(member.address, replace(member.policy, lock_wait=seconds)):
                pass

    def query(self, target: Target, query: str) -> bool:
        """True if the first value of a query is true.

        Raises CheckFailed, without the words of the database: they may hold rows and files.
        """
        address = _database(target).address
        limited = f"SELECT * FROM (\n{query.rstrip().rstrip(';')}\n) headway_check LIMIT 1"  # noqa: S608
        with address.open() as raw:
            if power := address.dialect.power_beyond(raw):
                raise CheckFailed(
                    f"The user of this database has {power}: a query could do more than read. The "
                    "query was not sent. Give the database a user without that, or use the check "
                    "`drift`."
                )
            address.dialect.limit_reading(raw, CHECK_SECONDS)
            address.dialect.set_read_only(raw)
            with address.connected(raw) as connection:
                try:
                    row = connection.exec_driver_sql(limited).first()
                except Exception:  # noqa: BLE001
                    raise CheckFailed("The query of the check failed.") from None
                finally:
                    connection.rollback()
        return row is not None and bool(row[0])

    def probe(
        self,
        scripts: Version,
        targets: Sequence[ProbeTarget],
        timeouts: dict[str, int],
        seconds: float,
    ) -> dict[str, int]:
        """Probe many databases at once and send each result as it comes.

        Returns the timeouts of each server.
        """
        project = _projects.get(scripts)
        pool = Pool[ProbeResult](seconds=seconds)
        pool.timeouts = timeouts
        for some in _with_few_arguments(targets):
            self._probe_some(project, pool, some)
        return pool.timeouts

    def _probe_some(
        self, project: Project, pool: Pool[ProbeResult], targets: Sequence[ProbeTarget]
    ) -> None:
        calls, refused = {}, _run_env(project, targets)
        self.channel.limit_memory()
        for key, server, url, x in targets:
            if error := refused.get(_kind(url, x)):
                self.channel.send("one", (key, error))
                continue
            ask = partial(probe_database, project, url, x)
            calls[key] = Call(key=key, server=server, function=ask)
        again = []
        for key, answer in pool.run(calls.values()):
            if _is_out_of_memory(answer):  # perhaps another took it
                again.append(key)
            else:
                self.channel.send("one", (key, _sendable_answer(key, answer)))
        for key in again:
            for _, answer in pool.run([calls[key]]):
                self.channel.send("one", (key, _sendable_answer(key, answer)))

    def find(self, finder: str, arguments: Sequence[Any], most: int) -> list[find.Row]:
        """At most so many databases that are not registered yet: see `find`."""
        self.channel.limit_memory()
        return list(islice(find.FINDERS[finder](*arguments), most))

    def drop(self, url: URL, label: str, release: str) -> Path | None:
        """Drop a database that holds nothing of others, or a schema that nothing else needs.

        Under its lock. Returns its snapshot.
        """
        address = Address.of(url)
        policy = Policy(release=release, lock_wait=DROP_LOCK_SECONDS)
        if not places.is_there(address):
            return None
        if tenant_of(url, "dropped"):
            places.drop(address, policy)
            return None
        with held(address, policy) as raw:
            places.refuse_implicit_schema(address, raw)
            # The server knows of tenants that nobody has registered.
            if schemas := address.dialect.other_schemas(raw):
                raise StillNeeded(
                    f"{address} has other schemas that are not empty and would be dropped with it: "
                    f"{', '.join(schemas)}. Nothing was dropped. Drop these schemas first, or drop "
                    "the database with the server's own tools."
                )
            snapshot = address.dialect.snapshot(raw, address.url, label)
            address.dialect.drop(address.url)
        return snapshot

    def sizes(
        self, groups: Sequence[tuple[str, URL, Sequence[str]]], seconds: float
    ) -> list[dict[str, int]]:
        """For each server, URL and names: the sizes of these databases, as far as it answers."""
        self.channel.limit_memory()
        calls = [
            Call(key=number, server=server, function=partial(sizes, url, names))
            for number, (server, url, names) in enumerate(groups)
        ]
        found: list[dict[str, int]] = [{} for _ in groups]
        for number, answer in Pool[dict[str, int]](seconds=seconds).run(calls):
            if isinstance(answer, dict):
                found[number] = answer
        return found

    def environment_uses(
        self, scripts: Version, dialects: Collection[str], x: Mapping[str, str]
    ) -> list[EnvironmentUse]:
        """How env.py is used for each kind of database. Runs env.py if that is not known yet."""
        project = _projects.get(scripts)
        environments = [project.environment_for(register.address_of(name), x) for name in dialects]
        return [
            EnvironmentUse(
                mode=one.mode.value,
                why=one.why,
                options=_sql_options(one),
                missing_offline=one.unwritten,
            )
            for one in environments
        ]

    def records(self, scripts: Version) -> tuple[register.Record, ...]:
        """Every revision, oldest first."""
        return tuple(register.records(_projects.get(scripts)))

    def sql(
        self, scripts: Version, names: Sequence[str], x: Mapping[str, str]
    ) -> dict[str, register.Sql]:
        """Revision -> the SQL that it sends to each kind of database."""
        return register.sql_of(_projects.get(scripts), names, x)


def _kind(url: URL, x: Mapping[str, str]) -> tuple[object, ...]:
    """What env.py is run for once, before many databases are looked at."""
    return url.get_backend_name(), *sorted(x.items())


def _with_few_arguments(targets: Sequence[ProbeTarget]) -> Iterator[list[ProbeTarget]]:
    """The same in parts, so that the first are told while env.py runs for the next sets of -x."""
    some: list[ProbeTarget] = []
    kinds = set()
    for target in targets:
        kinds.add(_kind(*target[2:]))
        if len(kinds) > 2 * AT_ONCE:
            yield some
            some, kinds = [], {_kind(*target[2:])}
        some.append(target)
    yield some


def _run_env(
    project: Project, targets: Sequence[ProbeTarget]
) -> dict[tuple[object, ...], HeadwayError]:
    """Have env.py run for these databases, not in the pool's threads; where it fails, and why."""
    refused = {}
    for kind, (url, x) in {_kind(*target[2:]): target[2:] for target in targets}.items():
        try:
            project.environment_for(register.address_of(url.get_backend_name()), x)
        except HeadwayError as error:
            refused[kind] = error
    return refused


def _sql_options(environment: Environment) -> dict[str, str | bool]:
    """The options that affect the SQL around the revisions, with the schema that a run uses."""
    name = "version_table_schema"
    schema = environment.options_without_callbacks.get(name)
    options = environment.options_without_callbacks | {
        name: environment.schemas.get(schema, schema)
    }
    return {
        name: options[name] for name in SQL_OPTIONS if isinstance(options.get(name), str | bool)
    }


def probe_database(project: Project, url: URL, x: Mapping[str, str]) -> ProbeResult:
    """The status of one database. A file that does not exist is unreachable, not empty."""
    began = datetime.now(UTC)
    database = project.at(url, x, words=WORDS, explicit_schema=True)
    path = database.address.path
    if path is not None and not path.exists():
        why = f"There is no file {path}."
        return ProbeResult(at=began, look=Status(position=Position.UNREACHABLE, reason=why))
    return ProbeResult(at=began, look=database.status(), size=size_of(url) if path else None)


def _is_out_of_memory(answer: ProbeResult | TimedOut | Exception) -> bool:
    """As Python says it, or a driver."""
    if isinstance(answer, ProbeResult):
        return "out of memory" in (answer.look.reason or "").lower()
    return isinstance(answer, MemoryError) or "out of memory" in str(answer).lower()


def _sendable_answer(key: int, answer: ProbeResult | TimedOut | Exception) -> Answer:
    if isinstance(answer, ProbeResult | TimedOut | HeadwayError):
        return answer
    log.error("database %s cannot be looked at", key, exc_info=answer)
    why = f"Its status cannot be read: {type(answer).__name__}."
    if isinstance(answer, MemoryError):
        why = "Its answer takes more memory than a status check may use."
    return ProbeResult(at=datetime.now(UTC), look=Status(position=Position.UNREACHABLE, reason=why))


class _Projects:
    """The projects that were read, kept by digest so that what was planned is what runs."""

    def __init__(self) -> None:
        self.known: dict[ScriptLocation, dict[str, Project]] = {}
        self.reading = threading.Lock()

    def newest(self, place: ScriptLocation) -> Project:
        """The project as its files are now."""
        beside = place.extra_folder  # a folder of our own, which does not change
        project = self._extended(place) if beside else Project.shared(place.folder, place.ini)
        digest = project.digest
        with self.reading:
            others = self.known.get(place, {})
            if others.get(digest) is not project:
                newest = list(others.items())[-1:]
                self.known[place] = {k: v for k, v in newest if k != digest} | {digest: project}
        return project

    def get(self, scripts: Version) -> Project:
        """The project at a digest. Raises ProjectNotReady if its files have changed since."""
        known = self.known.get(scripts.place, {}).get(scripts.digest)
        known = known or self.newest(scripts.place)
        if known.digest != scripts.digest:
            raise ProjectNotReady(
                f"The scripts in {scripts.place.folder} changed a moment ago. Nothing was done; "
                "the run is tried again automatically."
            )
        return known

    def _extended(self, place: ScriptLocation) -> Project:
        for project in self.known.get(place, {}).values():
            return project
        project = Extended(place.folder, place.ini, str(place.extra_folder))
        project.scripts  # noqa: B018  # read now, so that a hole is found now
        return project


_projects = _Projects()


def _database(target: Target) -> Database:
    project = _projects.get(target.scripts)
    return project.at(target.url, target.x, words=WORDS, explicit_schema=True, **target.policy)
