"""A catalog whose user may not do what a boot needs: a sentence, and not a traceback."""

import secrets
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy.engine import URL

from app import create_app
from headway.errors import DatabaseDenied
from tests.boot.conftest import execute
from tests.conftest import settings_for


@pytest.fixture
def role(postgresql_server: URL) -> Iterator[str]:
    """A user of the server, with no rights."""
    name = f"headway_{secrets.token_hex(4)}"
    execute(postgresql_server, f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    yield name
    execute(postgresql_server, f"DROP ROLE {name}")


def test_a_user_that_may_make_nothing(role: str, fresh_url: Callable[[str], URL]) -> None:
    url = fresh_url("postgresql")
    with pytest.raises(DatabaseDenied, match="permission denied"):
        create_app(settings_for(url.set(username=role, password="p")), migrate=True)


def test_a_user_that_may_read_nothing(role: str, migrated: Callable[[str], URL]) -> None:
    url = migrated("postgresql")
    with pytest.raises(DatabaseDenied, match="permission denied"):
        create_app(settings_for(url.set(username=role, password="p")), migrate=True)
