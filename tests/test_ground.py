"""The ground the other tests stand on: copies of catalogs, releases, a server of our own."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from tests import servers
from tests.conftest import boot, database_on, environment_for
from tests.migrations.conftest import open_catalog
from tests.releases import BOOT, HEAD, make_release


def test_a_copy_of_the_template_is_what_a_boot_makes(
    backend: str, migrated: Callable[[str], URL], catalog_url: URL
) -> None:
    boot(catalog_url)
    found = []
    for url in (catalog_url, migrated(backend)):
        for catalog in open_catalog(url):
            told = catalog.app.test_client().get("/readyz").get_json()
            history = catalog.rows("SELECT revision, outcome FROM headway_history ORDER BY id")
            found.append((catalog.schema(), history, told["state"], told["revision"]))
    assert found[0] == found[1]
    assert found[0][2] == "head"


@pytest.mark.parametrize(
    "command",
    [
        ("python", "-c", BOOT),
        ("flask", "db", "current"),
        ("gunicorn", "--check-config", "wsgi:app"),
    ],
    ids=lambda command: command[0],
)
def test_a_release_runs_its_own_code(
    tmp_path: Path, sqlite_url: URL, command: tuple[str, ...]
) -> None:
    release = make_release(tmp_path / "release")
    with (release.path / "app" / "__init__.py").open("a") as file:
        file.write("\nprint('this is', __file__, flush=True)\n")
    release.add("c0099", HEAD, "op.create_table('extra', sa.Column('id', sa.Integer))")
    done = release.run(*command, env=environment_for(sqlite_url))
    assert done.returncode == 0, done.stderr
    assert f"this is {release.path}" in done.stdout


def test_a_mariadb_of_our_own_can_be_started() -> None:
    program = shutil.which("mariadbd", path=servers.SYSTEM)
    if program is None:
        servers.missing("MariaDB", "apt-get install mariadb-server")
    with servers.own_mariadb(program) as server, database_on(server) as url:
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SELECT DATABASE()").scalar() == url.database
        engine.dispose()
    assert not servers.lets_in(server)
