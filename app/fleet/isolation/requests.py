"""The requests that a child process serves, on a project's scripts and its databases.

Runs only in the child, which has no access to the catalog: see `child`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL

from app.errors import CheckFailed
from app.fleet.isolation import find, probes
from app.fleet.isolation.messages import (
    EnvironmentUse,
    Facts,
    ProbeResult,
    ProbeTarget,
    ScriptLocation,
    Target,
    Version,
)
from app.fleet.isolation.pool import Call, Pool
from app.fleet.isolation.projects import database_of, projects
from headway.connections import places
from headway.connections.address import Address
from headway.connections.session import Policy, held
from headway.connections.sizes import sizes
from headway.dialects.search_path import tenant_of
from headway.errors import StillNeeded
from headway.execution.migration import Move
from headway.plan import register
from headway.plan.graph import SQL_OPTIONS
from headway.plan.plans import Direction
from headway.scripts.environment import Environment
from headway.types import Outcome, Status

DROP_LOCK_SECONDS = 30.0
"""How long a drop waits for who migrates the database."""
CHECK_SECONDS = 60.0
"""How long the query of a check may take."""
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
        project = projects.newest(place)
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
        member, tell = database_of(target), self.channel.tell
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
        return getattr(database_of(target), what)(*arguments)

    def rehearse(self, target: Target, to: str, direction: str) -> Any:
        """The revisions that a migration would run, and its outcome on a copy."""
        member = database_of(target)
        plan = member.plan(to, direction)
        return tuple(step.revision for step in plan.steps), member.rehearse(plan)

    def create(self, target: Target, to: str) -> Status:
        """Create the database at a revision, and return its status."""
        member = database_of(target)
        member.create(to, on_step=partial(self.channel.ask, "step"))
        return member.status()

    def wait_for_lock(self, target: Target, seconds: float) -> None:
        """Return once no process migrates the database. Raises DatabaseLocked after `seconds`."""
        member = database_of(target)
        path = member.address.path
        if path is None or path.exists():
            with held(member.address, replace(member.policy, lock_wait=seconds)):
                pass

    def query(self, target: Target, query: str) -> bool:
        """True if the first value of a query is true.

        Raises CheckFailed, without the words of the database: they may hold rows and files.
        """
        address = database_of(target).address
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
        project = projects.get(scripts)
        pool = Pool[ProbeResult](seconds=seconds)
        pool.timeouts = timeouts
        for answer in probes.probe(project, pool, targets, self.channel.limit_memory):
            self.channel.send("one", answer)
        return pool.timeouts

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
        project = projects.get(scripts)
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
        return tuple(register.records(projects.get(scripts)))

    def sql(
        self, scripts: Version, names: Sequence[str], x: Mapping[str, str]
    ) -> dict[str, register.Sql]:
        """Revision -> the SQL that it sends to each kind of database."""
        return register.sql_of(projects.get(scripts), names, x)


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
