"""A proxy that shares sessions: the catalog is not migrated through it, and no lock stays there."""

from collections.abc import Callable

import pytest
from sqlalchemy.engine import URL

from app import create_app
from app.boot import alembic, headway
from app.extensions import db
from headway.errors import PoolerInTheWay
from tests.boot.conftest import rows
from tests.conftest import settings_for
from tests.servers import pgbouncer

LOCKS = (
    "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)


def test_a_catalog_is_not_migrated_through_a_pool_of_transactions(postgresql_url: URL) -> None:
    with pgbouncer(postgresql_url, "transaction") as proxy:
        for _ in range(3):
            with pytest.raises(PoolerInTheWay, match="a pool in session mode"):
                create_app(settings_for(proxy))
        assert rows(postgresql_url, "SELECT to_regclass('alembic_version')") == [(None,)]
        assert rows(postgresql_url, LOCKS) == [(0,)]


def test_a_catalog_at_head_is_served_through_it_and_not_repaired(
    migrated: Callable[[str], URL],
) -> None:
    url = migrated("postgresql")
    with pgbouncer(url, "transaction") as proxy, create_app(settings_for(proxy)).app_context():
        with pytest.raises(PoolerInTheWay):
            headway.database.repair(headway.database.plan_repair())
        with pytest.raises(PoolerInTheWay):
            alembic.downgrade("base")
        assert rows(url, LOCKS) == [(0,)]
        assert rows(url, "SELECT count(*) FROM alembic_version") == [(1,)]
        db.session.remove()
        db.engine.dispose()


def test_a_pool_of_sessions_is_as_good_as_the_server(postgresql_url: URL) -> None:
    with pgbouncer(postgresql_url, "session") as proxy:
        with create_app(settings_for(proxy)).app_context():
            db.engine.dispose()
        assert rows(postgresql_url, "SELECT count(*) FROM alembic_version") == [(1,)]
    assert rows(postgresql_url, LOCKS) == [(0,)]
