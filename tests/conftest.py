"""The vocabulary of all tests: real databases, made by the real migrations."""

import gc
import itertools
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from zlib import crc32

import pytest
import sqlalchemy as sa
from flask import Flask
from flask.testing import FlaskClient, FlaskCliRunner
from sqlalchemy.engine import URL

from app import create_app
from app.extensions import db
from app.settings import MIGRATIONS, Settings
from headway.pytest_plugin import DatabaseTemplate
from tests import servers
from tests.migrator.scripts import write_project
from tests.support.forks import Forks
from tests.support.routing import remember_routes
from tests.support.shared import folder_of_run, memory
from tests.support.statements import remember_statements
from tests.support.templates import Templates

BACKENDS = ("sqlite", "postgresql", "mariadb")
SETTINGS = ("DATABASE_URL", "HOST", "PORT", "WEB_CONCURRENCY", "PROMETHEUS_MULTIPROC_DIR")
SECRET = "not a secret, and longer than 32 bytes"
KEY = "bm90IGEgc2VjcmV0LCBvbmx5IDMyIGJ5dGVzIGxvbmc="
_numbers = itertools.count(1)


def pytest_configure() -> None:
    """No test is polluted by the settings of the person who runs it; no server outlives the run."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # A run in the background has SIGINT ignored, and so would have every process that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in list(os.environ):
        if name.startswith(("HEADWAY_", "FLASK_", "GUNICORN_")) or name in SETTINGS:
            del os.environ[name]
    if folder := memory():
        os.environ.setdefault("TMPDIR", folder)
        tempfile.tempdir = None  # asked for again
    remember_routes()
    remember_statements()
    sys.dont_write_bytecode = False  # until the tests are imported: next time that is quicker


def pytest_collection_finish() -> None:
    """Scripts that tests write are compiled as the person who runs them wants it.

    What was imported and collected stays to the end: the garbage collector went through it again
    and again, a fifth of the time of tests that start no process.
    """
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


LONGEST = (
    *("every_page", "rollouts", "embedded", "schema", "distributed", "environments", "broken"),
    *("race", "docs", "databases", "schemathesis", "objects_mariadb", "tenants", "own_state"),
    *("objects_postgresql", "data", "pytest_plugin", "work", "migrate", "desktop"),
    *("web_worker", "dialects", "wheel", "services", "chaos", "creating", "story", "metrics"),
    *("commands", "rollouts_page", "fuzz", "half_mariadb", "no_traceback", "project_walls"),
    *("references", "schemas", "real_projects", "webhooks", "connections", "remote"),
    *("refusals", "kills", "access", "probes", "schemathesis_rollouts", "accounts", "rolling"),
    *("proof", "isolation", "slow_clients", "graphs"),
)
"""Files by how long they take; each is run by one process, so these are begun first."""


RELEASED = sorted(path.name.partition("_")[0] for path in MIGRATIONS.glob("c*.py"))[:-1]
"""The catalog's revisions but the newest, which nobody edits any more."""
ON_ONE_SERVER = (
    *("tests/boot/", "tests/fleet/", "tests/migrator/"),
    *(f"tests/migrations/test_data.py::test_{revision}_" for revision in RELEASED),
    "tests/migrations/test_schema.py::test_a_downgrade_leaves",
    "tests/api/test_metrics.py::test_the_oldest_behind",
)
"""Tests whose cases run on one server each, another one for each case, so that every run is on all
of them. `make thorough` runs each case on all."""
ON_EACH_SERVER = (
    *("chaos", "interleavings", "leases", "races", "tokens", "work"),
    *("dialects", "drivers", "kills", "locks", "moves", "real_projects", "torn"),
)
"""Modules of theirs about what servers do differently: locks, claims, uniqueness, transactions."""


FEW = {
    "tests/boot/": 3,
    "tests/examples/test_services.py": 2,
    "tests/examples/test_kills.py": 4,
    "tests/examples/": 1,
    "tests/objects/": 6,
    "tests/api/test_faces.py": 25,
    "tests/packaging/test_wheel.py": 2,
    "tests/migrator/test_ended_transactions.py": 12,
    "tests/migrator/test_graphs.py": 2,
    "tests/migrator/test_half_mariadb.py": 20,
    "tests/migrator/test_half_postgresql.py": 15,
    "tests/migrator/test_own_state.py": 6,
    "tests/migrator/test_proof.py": 15,
}
"""Of each function of these, an ordinary run tries so many cases: each takes long, or there are
many of a kind. `make thorough` runs all."""

REALLY_STARTED = (
    *("tests/packaging/", "tests/differential/", "tests/test_benchmarks.py", "tests/test_docs.py"),
    "tests/cli/test_imports.py",
    "tests/cli/test_alembic_commands.py::test_help_and_completion_import",
    *("tests/examples/test_services.py", "tests/examples/test_frozen.py"),
    *("tests/fleet/test_isolation.py", "tests/fleet/test_hostile_members.py"),
    "tests/boot/test_broken.py::test_the_password_of_a_catalog_is_in_no_process_list",
)
"""Tests whose processes are started by Python itself and never forked: those about what is
imported or installed, what memory is taken, and how processes are kept apart; see
`tests/support/forks.py`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; the cases that `make thorough` alone runs are marked."""
    last = len(LONGEST)
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem.removeprefix("test_"), last))
    cases: dict[str, list[tuple[str, pytest.Item]]] = {}
    for item in items:
        backend = getattr(item, "callspec", None) and item.callspec.params.get("backend")
        is_contract = item.path.stem.removeprefix("test_") in ON_EACH_SERVER
        if backend and item.nodeid.startswith(ON_ONE_SERVER) and not is_contract:
            cases.setdefault(item.nodeid.replace(backend, ""), []).append((backend, item))
    for case, found in cases.items():
        chosen = sorted(backend for backend, _ in found)[crc32(case.encode()) % len(found)]
        for backend, item in found:
            if backend != chosen:
                item.add_marker(pytest.mark.thorough)
    _keep_few(items)


def _keep_few(items: list[pytest.Item]) -> None:
    functions: dict[str, list[pytest.Item]] = {}
    for item in items:
        if not item.get_closest_marker("thorough"):
            functions.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, found in functions.items():
        few = next((count for path, count in FEW.items() if name.startswith(path)), len(found))
        # By their names: the same ones each time, in no order that somebody wrote them in.
        for item in sorted(found, key=lambda item: crc32(item.nodeid.encode()))[few:]:
            item.add_marker(pytest.mark.thorough)


@pytest.fixture(scope="session", autouse=True)
def forks() -> Iterator[Forks]:
    """Python that tests start by `subprocess` is forked by a process that has the modules."""
    forks = Forks()
    forks.begin()
    yield forks
    forks.end()


@pytest.fixture(autouse=True)
def _forked_or_started(request: pytest.FixtureRequest, forks: Forks) -> None:
    forks.on = not request.node.nodeid.startswith(REALLY_STARTED)


@pytest.fixture(scope="session")
def postgresql_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[URL]:
    with servers.postgresql(folder_of_run(tmp_path_factory.getbasetemp())) as url:
        yield url


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[URL]:
    with servers.mariadb() as url:
        yield url


@pytest.fixture
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., URL]]:
    """Makes empty databases of any kind; they are gone after the test."""
    with ExitStack() as stack:

        def make(backend: str, options: str = "") -> URL:
            if backend == "sqlite":
                return _file_in(tmp_path)
            server = request.getfixturevalue(f"{backend}_server")
            return stack.enter_context(database_on(server, options))

        yield make


def _file_in(folder: Path) -> URL:
    return URL.create("sqlite", database=str(folder / f"c{next(_numbers)}.sqlite"))


class database_on:  # noqa: N801  # reads as a verb where it is used
    """An empty database on a server, dropped at the end."""

    def __init__(self, server: URL, options: str = "") -> None:
        self.server = server
        self.options = options
        self.name = f"headway_test_{os.getpid()}_{next(_numbers)}"

    def __enter__(self) -> URL:
        self._run(f"DROP DATABASE IF EXISTS {self.name}")  # of a killed run with the same pid
        self._run(f"CREATE DATABASE {self.name} {self.options}")
        return self.server.set(database=self.name)

    def __exit__(self, *_: object) -> None:
        if self.server.get_backend_name() == "postgresql":
            self._run(f"DROP DATABASE IF EXISTS {self.name} WITH (FORCE)")
        else:
            self._run(f"DROP DATABASE IF EXISTS {self.name}")

    def _run(self, statement: str) -> None:
        engine = sa.create_engine(self.server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Runs the test once on each kind of database."""
    return str(request.param)


@pytest.fixture
def catalog_url(backend: str, fresh_url: Callable[[str], URL]) -> URL:
    """An empty database of each kind."""
    return fresh_url(backend)


@pytest.fixture
def sqlite_url(fresh_url: Callable[[str], URL]) -> URL:
    return fresh_url("sqlite")


@pytest.fixture
def postgresql_url(fresh_url: Callable[[str], URL]) -> URL:
    return fresh_url("postgresql")


@pytest.fixture
def mariadb_url(fresh_url: Callable[[str], URL]) -> URL:
    return fresh_url("mariadb")


def settings_for(url: URL, **more: object) -> Settings:
    """Settings for a catalog; nothing comes from the environment."""
    given = {"secret_key": SECRET, "encryption_keys": (KEY,)}
    given |= {"webhook_hosts": ("127.0.0.1", "::1")} | more
    return Settings(database_url=url, **given)  # type: ignore[arg-type]


def boot(url: URL) -> None:
    """Bring a catalog to head, as a service does that starts on it."""
    with create_app(settings_for(url)).app_context():
        db.engine.dispose()


def environment_for(url: URL, **more: str) -> dict[str, str]:
    """The same for a process of its own."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    return mine | {
        "HEADWAY_DATABASE_URL": url.render_as_string(hide_password=False),
        "HEADWAY_SECRET_KEY": SECRET,
        "HEADWAY_ENCRYPTION_KEYS": KEY,
        "HEADWAY_BOOT_WAIT_SECONDS": "20",
        "HEADWAY_WEBHOOK_HOSTS": "127.0.0.1",
        "HEADWAY_WORKERS": "0",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Templates]:
    """Databases that are made once, for all processes of this run."""
    made = Templates(folder_of_run(tmp_path_factory.getbasetemp()))
    yield made
    made.end()


@pytest.fixture(scope="session")
def server_of(request: pytest.FixtureRequest) -> Callable[[str], URL]:
    """Where databases of each kind are made."""

    def find(backend: str) -> URL:
        if backend == "sqlite":
            return URL.create("sqlite")
        return request.getfixturevalue(f"{backend}_server")

    return find


@pytest.fixture(scope="session")
def template(
    templates: Templates, server_of: Callable[[str], URL]
) -> Callable[[str], DatabaseTemplate]:
    """A catalog of each kind that a service has started on: the migrations made it.

    What a first start does after them, the invitation of the first admin, is done once as well.
    """
    return lambda backend: DatabaseTemplate(templates.get(server_of(backend), "booted", boot))


@pytest.fixture
def booted(
    template: Callable[[str], DatabaseTemplate], tmp_path: Path
) -> Iterator[Callable[[str], URL]]:
    """Makes catalogs that a service has started on, files in the folder of the test."""
    with ExitStack() as stack:

        def make(backend: str) -> URL:
            place = _file_in(tmp_path) if backend == "sqlite" else None
            return stack.enter_context(template(backend).copy(place))

        yield make


@pytest.fixture
def migrated(template: Callable[[str], DatabaseTemplate]) -> Iterator[Callable[[str], URL]]:
    """Makes catalogs at head of any kind: copies of the template."""
    with ExitStack() as stack:
        yield lambda backend: stack.enter_context(template(backend).copy())


@pytest.fixture
def migrated_url(backend: str, migrated: Callable[[str], URL]) -> URL:
    """A catalog at head, of each kind."""
    return migrated(backend)


@pytest.fixture
def template_copy(migrated: Callable[[str], URL]) -> URL:
    """A SQLite catalog at head."""
    return migrated("sqlite")


@pytest.fixture
def app(template_copy: URL) -> Flask:
    return create_app(settings_for(template_copy))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder that databases may be in."""
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def shop_scripts(tmp_path: Path) -> Path:
    """Two revisions, in the folder that projects may be in."""
    return write_project(tmp_path / "projects" / "shop", 2)


@pytest.fixture
def shop_app(template_copy: URL, data: Path, shop_scripts: Path) -> Iterator[Flask]:
    """One that may open these and nothing else."""
    roots = {"data_roots": (data,), "project_roots": (shop_scripts.parent,)}
    app = create_app(settings_for(template_copy, **roots))
    yield app
    with app.app_context():
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def runner(app: Flask) -> FlaskCliRunner:
    return app.test_cli_runner()
