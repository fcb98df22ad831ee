"""Each kind of object of MariaDB through every operation: see test_objects_sqlite.py."""

import pytest

from tests.objects import mariadb
from tests.objects.conftest import Tried, each
from tests.objects.kinds import Kind, project


@pytest.mark.parametrize("kind", each(mariadb.KINDS))
def test_on_mariadb(kind: Kind, tried: Tried) -> None:
    result = tried(project(kind, "mariadb"))
    assert not result.findings, str(result)
