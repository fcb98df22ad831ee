"""Databases by what people paste: names or ids, thousands at once."""

from collections.abc import Sequence

from sqlalchemy import select

from app.errors import DatabaseNotFound, InputInvalid
from app.extensions import db
from app.fleet.accounts import LARGEST_ID
from app.fleet.actors import Actor
from app.models import Database

MOST = 10_000
AT_ONCE = 1000


def ids_of(actor: Actor, project_id: int | None, said: Sequence[str]) -> list[int]:
    """The databases of a project that are called like this, or have this id; each once.

    Raises DatabaseNotFound with the first few that there are not, or InputInvalid for too many.
    """
    actor.require("databases.read")
    words = list(dict.fromkeys(said))
    if len(words) > MOST:
        raise InputInvalid(f"These are {len(words):,} databases; name at most {MOST:,}, or labels.")
    found: dict[str, int] = {}
    for start in range(0, len(words), AT_ONCE):
        found |= _some(project_id, words[start : start + AT_ONCE])
    if missing := [word for word in words if word not in found]:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""  # noqa: PLR2004
        raise DatabaseNotFound(
            f"The project has no database {', '.join(missing[:5])}{more}; retired ones are none."
        )
    return sorted(set(found.values()))


def _some(project_id: int | None, words: Sequence[str]) -> dict[str, int]:
    ids = [int(word) for word in words if word.isdecimal() and len(word) <= len(str(LARGEST_ID))]
    here = select(Database.id, Database.name).where(
        Database.project_id == project_id, Database.retired_at.is_(None)
    )
    by_id = db.session.execute(here.where(Database.id.in_([i for i in ids if i <= LARGEST_ID])))
    by_name = db.session.execute(here.where(Database.name.in_(words)))
    return {str(row.id): row.id for row in by_id} | {row.name: row.id for row in by_name}
