"""What a catalog stores of a project's revisions, and how they are restored."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.environment import EnvironmentContext
from sqlalchemy import URL

from headway.dialects.urls import KINDS, DatabaseURL
from headway.errors import DriverMissing, EnvironmentFailed
from headway.isolation.isolated import isolated
from headway.plan.sql import Offline, Statements, dialect_of
from headway.scripts.alembic_log import silence_alembic_log
from headway.scripts.project import ScriptProject

DIALECTS = KINDS
Sql = dict[str, dict[str, str | None]]
"""Dialect -> `upgrade` and `downgrade` -> SQL; None if the revision queries the database."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """All that is stored of one revision."""

    id: str
    checksum: str
    parents: tuple[str, ...]
    depends_on: tuple[str, ...]
    labels: tuple[str, ...]
    """The revision's own labels, not those of its branch."""
    message: str
    path: str


def address_of(dialect: str) -> URL:
    """A URL of this kind of database that names none."""
    return DatabaseURL.parse(f"{dialect}://")


def records(project: ScriptProject) -> list[Record]:
    """Every revision, oldest first. Raises ScriptsUnreadable if one cannot be imported."""
    found = project.revisions
    with isolated(project.modules):
        labels = {one.id: _labels_of(project, one.id) for one in found}
    return [
        Record(
            id=one.id,
            checksum=one.checksum,
            parents=one.parents,
            depends_on=one.depends_on,
            labels=labels[one.id],
            message=one.message,
            path=one.path,
        )
        for one in found
    ]


def text_of(path: str) -> str | None:
    """A revision's source; None if it is compiled or no UTF-8."""
    if path.endswith("c"):
        return None
    try:
        return Path(path).read_bytes().decode()
    except UnicodeDecodeError:
        return None


def sql_of(project: ScriptProject, ids: Sequence[str], x: Mapping[str, str]) -> dict[str, Sql]:
    """The SQL of each revision for each kind of database, rendered without one.

    Only the revisions' own statements: no transaction, no version table.
    """
    found: dict[str, Sql] = {name: {} for name in ids}
    for dialect in DIALECTS:
        try:
            texts = _texts(project, ids, address_of(dialect), x)
        except (DriverMissing, EnvironmentFailed):
            continue  # no database of this kind is known to the project
        for name in ids:
            found[name][dialect] = texts[name]
    return found


def _texts(
    project: ScriptProject, ids: Sequence[str], url: URL, x: Mapping[str, str]
) -> dict[str, dict[str, str | None]]:
    environment = project.environment_for(url, x)
    if not environment.has_one_script:
        return {name: {"upgrade": None, "downgrade": None} for name in ids}
    buffer = Statements()
    context = EnvironmentContext(
        project.config_for(url, x),
        project.directory,
        fn=lambda *_: [],
        as_sql=True,
        destination_rev="heads",
    )
    options = environment.options_without_callbacks | {
        "literal_binds": True,
        "output_buffer": buffer,
    }
    options["transactional_ddl"] = url.get_backend_name() != "mysql"
    connection: Any = Offline(dialect_of(url, environment))
    with isolated(project.modules), context, silence_alembic_log():
        context.configure(connection=connection, **options)
        with Operations.context(context.get_context()):
            return {
                name: {
                    way: _rendered(project, name, way, buffer, environment.run_arguments)
                    for way in ("upgrade", "downgrade")
                }
                for name in ids
            }


def _rendered(
    project: ScriptProject, name: str, way: str, buffer: Statements, arguments: Mapping[str, Any]
) -> str | None:
    buffer.found.clear()
    module: Any = project.directory.get_revision(name).module
    try:
        getattr(module, way)(**arguments)
    except (Exception, SystemExit):  # noqa: BLE001  # it asks the database, or cannot be undone
        return None
    return "\n\n".join(filter(None, buffer.found))


def _labels_of(project: ScriptProject, name: str) -> tuple[str, ...]:
    labels = getattr(project.directory.get_revision(name).module, "branch_labels", None)
    return (labels,) if isinstance(labels, str) else tuple(labels or ())


def keep(folder: Path, texts: Mapping[str, str]) -> None:
    """Write revisions into a folder, as `Extended` reads them: id -> source."""
    for number, text in enumerate(texts.values()):
        file = folder / f"{number:04}_kept.py"
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:  # noqa: PTH123
            out.write(text.encode())
