"""Probes of many databases at once, in a child process."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial

from sqlalchemy import URL

from app.fleet.isolation.messages import Answer, ProbeResult, ProbeTarget
from app.fleet.isolation.pool import AT_ONCE, Call, Pool, TimedOut
from app.fleet.isolation.projects import database_at
from headway.connections.sizes import size_of
from headway.errors import HeadwayError
from headway.plan import register
from headway.project import Project
from headway.types import Position, Status

log = logging.getLogger(__name__)


def probe(
    project: Project,
    pool: Pool[ProbeResult],
    targets: Sequence[ProbeTarget],
    limit_memory: Callable[[], None],
) -> Iterator[tuple[int, Answer]]:
    """The result of each database as it comes.

    `limit_memory` is called when the project's own code has run, before databases are asked.
    """
    for some in _with_few_arguments(targets):
        refused = _run_env(project, some)
        limit_memory()
        calls = {}
        for key, server, url, x in some:
            if error := refused.get(_kind(url, x)):
                yield key, error
                continue
            ask = partial(_probe_database, project, url, x)
            calls[key] = Call(key=key, server=server, function=ask)
        again = []
        for key, answer in pool.run(calls.values()):
            if _is_out_of_memory(answer):  # perhaps another took it
                again.append(key)
            else:
                yield key, _sendable_answer(key, answer)
        for key in again:
            for _, answer in pool.run([calls[key]]):
                yield key, _sendable_answer(key, answer)


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


def _probe_database(project: Project, url: URL, x: Mapping[str, str]) -> ProbeResult:
    """The status of one database. A file that does not exist is unreachable, not empty."""
    began = datetime.now(UTC)
    database = database_at(project, url, x)
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
