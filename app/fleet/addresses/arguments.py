"""The -x arguments of a database: its project's, with its own over them, placeholders filled in."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.errors import ArgumentMissing, InputInvalid
from app.fleet.core.permissions import Actor
from app.fleet.core.transactions import CatalogSession
from app.fleet.core.validation import LABEL, UNFIT, quoted
from app.models import Database, Label, Project
from headway.dialects.urls import DatabaseURL
from headway.errors import HeadwayError

MOST = 32
LONGEST_NAME = 64
LONGEST_VALUE = 1024
WORDS = ("name", "schema", "database")
OF_LABEL = "label."
WORD = r"[A-Za-z_][A-Za-z0-9._/-]*"
UNQUOTABLE = re.compile(r"""["'`;\\]""")
"""What ends a quoted text or a statement of SQL, for an env.py that writes values into one."""
PLACEHOLDER = re.compile(rf"\{{\{{({WORD})\}}\}}|\{{({WORD})\}}")
"""`{{name}}`, which is the text `{name}`, or `{name}`. All other braces are text."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """What placeholders ask for of a database."""

    name: str
    url: DatabaseURL
    labels: Mapping[str, str] = field(default_factory=dict)


def checked(x: Mapping[str, str | None]) -> dict[str, str | None]:
    """Arguments as they may be kept; a value of None takes one away. Raises InputInvalid."""
    if len(x) > MOST:
        raise InputInvalid(f"There may be at most {MOST} -x arguments.", field="x")
    for name, value in x.items():
        if not 0 < len(name) <= LONGEST_NAME or UNFIT.search(name) or "=" in name:
            raise InputInvalid(
                f"{quoted(name)} is not a valid name of an -x argument. A name has up to "
                f"{LONGEST_NAME} characters and no =.",
                field="x",
            )
        if value is not None:
            _check_value(name, value)
    return dict(x)


def require_may_set(actor: Actor, project_id: int, x: Mapping[str, str | None]) -> None:
    """Raise RoleInsufficient for values that could be read as SQL, unless an admin sets them.

    As with the query of a check: env.py runs with the rights of the database's user.
    """
    if any(UNQUOTABLE.search(value or "") for value in x.values()):
        actor.require("projects.change", project_id)


def without_none(x: Mapping[str, str | None]) -> dict[str, str]:
    """Those that have a value."""
    return {name: value for name, value in x.items() if value is not None}


def merged(project: Mapping[str, str], own: Mapping[str, str] | None) -> Mapping[str, str]:
    """A project's arguments with a database's own over them; placeholders are in them still."""
    return {**project, **own} if own else project


def asked(x: Mapping[str, str]) -> set[str]:
    """The placeholders in these values, as `name` or `label.tier`."""
    found = (PLACEHOLDER.findall(value) for value in x.values() if "{" in value)
    return {word for matches in found for _, word in matches if word}


def labels_asked(x: Mapping[str, str]) -> set[str]:
    """The labels that placeholders ask for."""
    return {word.removeprefix(OF_LABEL) for word in asked(x) if word.startswith(OF_LABEL)}


def arguments_of(
    session: Session | CatalogSession, project: Project, database: Database, url: DatabaseURL
) -> dict[str, str]:
    """The -x arguments that env.py gets for this database.

    Its labels are read if a placeholder asks for one. Raises ArgumentMissing if it has no value
    for a placeholder.
    """
    x = merged(project.x, database.x)
    labels = labels_of(session, [database.id], labels_asked(x)).get(database.id, {})
    return dict(filled(x, Member(name=database.name, url=url, labels=labels)))


def labels_of(
    session: Session | CatalogSession, ids: Iterable[int], names: Iterable[str]
) -> dict[int, dict[str, str]]:
    """The labels of these names, by the id of the database. Nothing is asked for no names."""
    found: dict[int, dict[str, str]] = {}
    if wanted := list(names):
        query = select(Label.database_id, Label.name, Label.value).where(
            Label.database_id.in_(list(ids)), Label.name.in_(wanted)
        )
        for database_id, name, value in session.execute(query):
            found.setdefault(database_id, {})[name] = value
    return found


def filled(x: Mapping[str, str], member: Member) -> Mapping[str, str]:
    """These arguments with the values of a database. Raises ArgumentMissing."""
    if not any("{" in value for value in x.values()):
        return x  # of thousands of databases one and the same: it is sent to another process once

    def fill(name: str, value: str) -> str:
        def of(match: re.Match[str]) -> str:
            literal, word = match.groups()
            return f"{{{literal}}}" if literal else _value(member, word, f"{name}={value}")

        return PLACEHOLDER.sub(of, value)

    return {name: fill(name, value) for name, value in x.items()}


def literal(x: Mapping[str, str]) -> dict[str, str]:
    """The same where no database is asked for: placeholders stay as they are."""
    return {name: PLACEHOLDER.sub(r"{\1\2}", value) for name, value in x.items()}


def shown(database: Database) -> Mapping[str, str]:
    """The arguments that env.py gets for a database, as far as its row with its labels tells.

    Where a value is missing, or only workers know its URL, the placeholders stay.
    """
    x = merged(database.project.x, database.x)
    labels = {label.name: label.value for label in database.labels}
    try:
        url = DatabaseURL.parse(database.address)
        return filled(x, Member(name=database.name, url=url, labels=labels))
    except HeadwayError:
        return literal(x)


def _value(member: Member, word: str, argument: str) -> str:
    """What stands for a placeholder."""
    found: str | None = None
    if word == "name":
        found = member.name
    elif word == "schema":
        found = member.url.schema
        needs, give = "a schema in its URL", "add ?schema=NAME to its URL"
    elif word == "database":
        url = member.url
        found = Path(url.name).stem if url.dialect == "sqlite" else url.name
    else:
        label = word.removeprefix(OF_LABEL)
        found = member.labels.get(label)
        needs, give = f"the label {label}", f"give it that label ({label}=VALUE)"
    if found is None:
        raise ArgumentMissing(
            f"The -x argument {argument} needs {needs}, and {member.name} has none. Nothing was "
            f"changed. Either {give}, or give this database a value of its own: "
            f"{argument.partition('=')[0]}=VALUE.",
            argument=argument.partition("=")[0],
        )
    if UNQUOTABLE.search(found):
        raise ArgumentMissing(
            f"The -x argument {argument} would get {quoted(found)} for {member.name}. It holds a "
            "quote, a backslash or a semicolon and could be read as SQL. Nothing was changed. "
            "Rename it, or let an admin give this database a value of its own: "
            f"{argument.partition('=')[0]}=VALUE.",
            argument=argument.partition("=")[0],
        )
    return found


def _check_value(name: str, value: str) -> None:
    if len(value) > LONGEST_VALUE or UNFIT.search(value):
        raise InputInvalid(
            f"The -x argument {name} has an invalid value. A value has up to {LONGEST_VALUE} "
            "characters and no control characters.",
            field="x",
        )
    for word in sorted(asked({name: value})):
        is_label = word.startswith(OF_LABEL) and LABEL.fullmatch(word.removeprefix(OF_LABEL))
        if word not in WORDS and not is_label:
            raise InputInvalid(
                f"The -x argument {name} holds {{{word}}}, which is not a placeholder. The "
                f"placeholders are {', '.join(f'{{{one}}}' for one in WORDS)} and "
                f"{{{OF_LABEL}NAME}}. To get the text itself, write {{{{{word}}}}}.",
                field="x",
            )
