"""Probe databases of the fleet in threads, each with a timeout."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session, undefer

from app.extensions import db
from app.fleet.addresses import arguments
from app.fleet.addresses.url_options import with_timeouts
from app.fleet.addresses.urls import url_of
from app.fleet.isolation.messages import Answer, ProbeResult, ProbeTarget
from app.fleet.isolation.pool import SECONDS, TimedOut
from app.fleet.isolation.remote import RemoteProject, sizes
from app.models import BEGUN, ENDED_STAGES, Database, Kind, Rollout, Run
from app.models.columns import rare
from headway.dialects.urls import DatabaseURL
from headway.errors import HeadwayError
from headway.types import Position, Status

PAGE = 2000
BATCH = 500
CONNECT_SECONDS = 5
"""The driver's timeout. It is shorter than that of a pool's call, which abandons its thread."""


@dataclass(frozen=True, kw_only=True)
class ProbeRequest:
    """A database to probe."""

    id: int
    address: str
    server: str | None
    url: DatabaseURL | None
    x: Mapping[str, str] = field(default_factory=dict)
    """Its -x arguments."""
    why_not: str | None = None
    """The reason if its URL cannot be read, or a value of its arguments is missing."""


@dataclass(kw_only=True)
class RefreshBatch:
    """The state of one refresh of one project."""

    project_id: int
    scripts: RemoteProject
    x: dict[str, str]
    """The -x arguments of the project, with their placeholders."""
    timeouts: dict[str, int] = field(default_factory=dict)
    """Server -> the number of timeouts since it last answered."""
    seconds: float = SECONDS
    """How long a database may take to answer."""


def pages(
    project_id: int, ids: Iterable[int] | None, x: Mapping[str, str]
) -> Iterator[list[ProbeRequest]]:
    """The databases to probe, PAGE at a time. Databases with an active run are left out.

    `x` are the project's -x arguments.
    """
    running = select(Run.database_id).where(rare(Run.state.in_(BEGUN)))
    query = select(Database).where(
        Database.project_id == project_id,
        Database.retired_at.is_(None),
        Database.id.not_in(running),
        ~being_created(),
    )
    query = query.order_by(Database.id)
    if ids is not None:
        for some in batches(iter(sorted(set(ids))), BATCH):
            yield _page(query.where(Database.id.in_(some)), x)
        return
    after = 0
    while page := _page(query.where(Database.id > after).limit(PAGE), x):
        yield page
        after = page[-1].id


def being_created() -> ColumnElement[bool]:
    """True for databases that are still to be created: they are not probed."""
    creating = select(Rollout.id).where(
        Rollout.kind == Kind.CREATE, Rollout.stage.not_in(ENDED_STAGES)
    )
    held = Database.rollout_id.is_not(None) & Database.rollout_id.in_(creating)
    return held & (Database.position == "")


def _page(query: Any, x: Mapping[str, str]) -> list[ProbeRequest]:
    with Session(db.engine) as session:  # its own, so that the rows are released at once
        try:
            rows = session.scalars(query.options(undefer(Database.url))).all()
        except HeadwayError:  # one of them cannot be decrypted: probe the others
            session.expunge_all()
            rows = session.scalars(query).all()
        given = [arguments.merged(x, row.x) for row in rows]
        wanted = {
            row.id: names
            for row, one in zip(rows, given, strict=True)
            if (names := arguments.labels_asked(one))
        }
        labels = arguments.labels_of(session, wanted, set().union(*wanted.values()))
        return [
            _request_for(row, one, labels.get(row.id, {}))
            for row, one in zip(rows, given, strict=True)
        ]


def _request_for(row: Database, x: Mapping[str, str], labels: Mapping[str, str]) -> ProbeRequest:
    url, why_not = None, None
    try:
        own = url_of(row)
        x = arguments.filled(x, arguments.Member(name=row.name, url=own, labels=labels))
        url = with_timeouts(own, CONNECT_SECONDS)
    except HeadwayError as error:
        why_not = str(error)
    return ProbeRequest(
        id=row.id, address=row.address, server=row.server, url=url, x=x, why_not=why_not
    )


# --- what is found --------------------------------------------------------------------------


def probe_page(
    batch: RefreshBatch, page: Sequence[ProbeRequest]
) -> Iterator[tuple[int, ProbeResult]]:
    """Probe these databases: yields the id of each with its result."""
    by_id = {one.id: one for one in page}
    now = datetime.now(UTC)
    for one in page:
        if one.url is None:
            yield one.id, ProbeResult(at=now, look=_unreachable(one.why_not or ""))
    targets: list[ProbeTarget] = [
        (one.id, one.server, one.url, one.x) for one in page if one.url is not None
    ]
    for key, answer in (
        batch.scripts.probe(targets, batch.timeouts, batch.seconds) if targets else ()
    ):
        yield key, _result_of(answer, by_id[key])


def _result_of(answer: Answer, request: ProbeRequest) -> ProbeResult:
    now = datetime.now(UTC)
    if isinstance(answer, ProbeResult):
        return ProbeResult(
            at=answer.at, look=_without_secrets(answer.look, request), size=answer.size
        )
    if isinstance(answer, TimedOut):
        reason = f"It did not answer within {answer.seconds:g} seconds."
        if not answer.was_called:
            reason = (
                f"Its server, {request.server}, does not answer: other databases on it timed out."
            )
        return ProbeResult(at=now - timedelta(seconds=answer.seconds), look=_unreachable(reason))
    return ProbeResult(at=now, look=_without_secrets(_unreachable(str(answer)), request))


def _unreachable(why: str) -> Status:
    return Status(position=Position.UNREACHABLE, reason=why)


def _without_secrets(look: Status, request: ProbeRequest) -> Status:
    """The status with the URL in its reason replaced by the address, which has no password."""
    if not look.reason or request.url is None:
        return look
    said = look.reason.replace(request.url.display, request.address)
    if request.url.password:
        said = said.replace(str(request.url.password), "***")
    return replace(look, reason=said)


def measure_sizes(batch: RefreshBatch, page: Sequence[ProbeRequest]) -> dict[int, int]:
    """Database id -> size in bytes, for servers that answer: one query per server and user."""
    groups: dict[tuple[str, str | None], list[tuple[int, DatabaseURL]]] = {}
    for one in page:
        if one.url is not None and one.server is not None and not batch.timeouts.get(one.server):
            groups.setdefault((one.server, one.url.username), []).append((one.id, one.url))
    asked = [
        (server, group[0][1], sorted({str(url.database) for _, url in group}))
        for (server, _), group in groups.items()
    ]
    found = sizes(asked, batch.seconds) if asked else []
    return {
        key: by_name[str(url.database)]
        for group, by_name in zip(groups.values(), found, strict=True)
        for key, url in group
        if str(url.database) in by_name
    }


def batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(items, size)):
        yield batch
