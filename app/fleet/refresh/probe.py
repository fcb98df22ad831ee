"""Looks: databases of the fleet are asked where they stand, each in a thread, none waited for."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import URL, ColumnElement, select
from sqlalchemy.orm import Session, undefer

from app.extensions import db
from app.fleet.core.urls import url_of
from app.fleet.isolation.messages import Answer, Seen
from app.fleet.isolation.pool import SECONDS, Question, Round, Silence
from app.fleet.isolation.remote import RemoteProject
from app.models import BEGUN, Database, Kind, Rollout, Run, Stage
from headway.connections.sizes import sizes
from headway.dialects.driver import shown
from headway.errors import HeadwayError
from headway.types import Look, Position

PAGE = 2000
BATCH = 500
CONNECT_SECONDS = 5
"""A server that swallows packets is given up on before the thread that asks is."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A database that is to be asked."""

    id: int
    address: str
    server: str | None
    url: URL | None
    why_not: str | None = None
    """Why it cannot even be asked."""


@dataclass(kw_only=True)
class Tour:
    """One refresh of one project."""

    project_id: int
    scripts: RemoteProject
    x: dict[str, str]
    silent: dict[str, int] = field(default_factory=dict)
    """Server -> how many were silent since it last answered."""
    seconds: float = SECONDS
    """How long one may take to answer."""


def pages(project_id: int, ids: Iterable[int] | None) -> Iterator[list[Asked]]:
    """The databases, some thousand at a time. Those that a run has in its hands are left out."""
    running = select(Run.database_id).where(Run.state.in_(BEGUN))
    query = select(Database).where(
        Database.project_id == project_id,
        Database.retired_at.is_(None),
        Database.id.not_in(running),
        ~being_created(),
    )
    query = query.order_by(Database.id)
    if ids is not None:
        for some in batches(iter(sorted(set(ids))), BATCH):
            yield _page(query.where(Database.id.in_(some)))
        return
    after = 0
    while page := _page(query.where(Database.id > after).limit(PAGE)):
        yield page
        after = page[-1].id


def being_created() -> ColumnElement[bool]:
    """True of databases that are still to be created: nobody asks what is not there."""
    ended = [stage for stage in Stage if stage.is_final]
    creating = select(Rollout.id).where(Rollout.kind == Kind.CREATE, Rollout.stage.not_in(ended))
    held = Database.rollout_id.is_not(None) & Database.rollout_id.in_(creating)
    return held & (Database.position == "")


def _page(query: Any) -> list[Asked]:
    with Session(db.engine) as session:  # its rows are nobody else's, and gone at once
        try:
            return [_asked(row) for row in session.scalars(query.options(undefer(Database.url)))]
        except HeadwayError:  # one of them cannot be decrypted: the others are asked
            session.expunge_all()
            return [_asked(row) for row in session.scalars(query)]


def _asked(row: Database) -> Asked:
    try:
        url, why_not = url_of(row), None
    except HeadwayError as error:
        url, why_not = None, str(error)
    return Asked(
        id=row.id, address=row.address, server=row.server, url=_hurried(url), why_not=why_not
    )


def _hurried(url: URL | None) -> URL | None:
    """The same, for a driver that must not wait for ever: each has its own words for it."""
    if url is None or url.get_backend_name() == "sqlite":
        return url
    options = {"connect_timeout": str(CONNECT_SECONDS)}
    if url.get_backend_name() in ("mysql", "mariadb"):
        options |= {"read_timeout": str(CONNECT_SECONDS), "write_timeout": str(CONNECT_SECONDS)}
    else:
        options |= {"keepalives_idle": "10", "keepalives_interval": "5", "keepalives_count": "3"}
    return url.update_query_dict({k: v for k, v in options.items() if k not in url.query})


# --- what is found --------------------------------------------------------------------------


def looked(tour: Tour, page: Sequence[Asked]) -> Iterator[tuple[int, Seen]]:
    """Each database's id, and what a look at it found."""
    by_id = {one.id: one for one in page}
    now = datetime.now(UTC)
    for one in page:
        if one.url is None:
            yield one.id, Seen(at=now, look=_unreachable(one.why_not or ""))
    asked = [(one.id, one.server, one.url) for one in page if one.url is not None]
    for key, answer in tour.scripts.look(asked, tour.x, tour.silent, tour.seconds) if asked else ():
        yield key, _told(answer, by_id[key])


def _told(answer: Answer, asked: Asked) -> Seen:
    now = datetime.now(UTC)
    if isinstance(answer, Seen):
        return Seen(at=answer.at, look=_without_secrets(answer.look, asked), size=answer.size)
    if isinstance(answer, Silence):
        said = f"It did not answer within {answer.seconds:g} seconds."
        if not answer.asked:
            said = f"Its server, {asked.server}, does not answer: others on it were asked in vain."
        return Seen(at=now - timedelta(seconds=answer.seconds), look=_unreachable(said))
    return Seen(at=now, look=_without_secrets(_unreachable(str(answer)), asked))


def _unreachable(why: str) -> Look:
    return Look(position=Position.UNREACHABLE, reason=why)


def _without_secrets(look: Look, asked: Asked) -> Look:
    """The same reason, with the address that people may see."""
    if not look.reason or asked.url is None:
        return look
    said = look.reason.replace(shown(asked.url), asked.address)
    if asked.url.password:
        said = said.replace(str(asked.url.password), "***")
    return replace(look, reason=said)


def large(tour: Tour, page: Sequence[Asked]) -> dict[int, int]:
    """The sizes of databases on servers that answer: one question for each server and user."""
    groups: dict[tuple[str, str | None], list[Asked]] = {}
    for one in page:
        if one.url is not None and one.server is not None and not tour.silent.get(one.server):
            groups.setdefault((one.server, one.url.username), []).append(one)
    questions = [
        Question(key=number, server=group[0].server, ask=partial(_large, group))
        for number, group in enumerate(groups.values())
    ]
    found: dict[int, int] = {}
    for _, answer in Round[dict[int, int]](seconds=tour.seconds).ask(questions):
        if isinstance(answer, dict):
            found |= answer
    return found


def _large(group: Sequence[Asked]) -> dict[int, int]:
    by_name = {one.id: str(one.url.database) for one in group if one.url}
    found = sizes(next(one.url for one in group if one.url), sorted(set(by_name.values())))
    return {key: found[name] for key, name in by_name.items() if name in found}


def batches(items: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(islice(items, size)):
        yield batch
