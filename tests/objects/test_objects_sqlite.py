"""Each kind of object of SQLite through every operation, beside plain Alembic in other processes.

Upgrade, downgrade, create, snapshot and restore, check, adopt, rehearse, replay: after each, the
dump of the database is the one that Alembic's own command leaves, or the operation was refused
in words and the dump is as it was. What only looks changes nothing, and finds nothing.
"""

import pytest

from tests.objects import sqlite
from tests.objects.conftest import Tried, each
from tests.objects.kinds import Kind, project, rebuilt


@pytest.mark.parametrize("kind", each(sqlite.KINDS))
def test_on_sqlite(kind: Kind, tried: Tried) -> None:
    result = tried(project(kind, "sqlite"))
    assert not result.findings, str(result)


@pytest.mark.parametrize("kind", each(sqlite.REBUILT))
def test_a_rebuild_loses_nothing_unannounced(kind: Kind, tried: Tried) -> None:
    result = tried(rebuilt(kind))
    assert not result.findings, str(result)
