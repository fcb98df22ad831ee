"""`headway.flask` in an app of anybody's: what it is bound to, what it refuses, what it leaves."""

import logging
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import flask_alembic
import flask_migrate
import pytest
import sqlalchemy as sa
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from headway.errors import DatabaseBehind, MigrationFailed, SettingInvalid, SetupInvalid
from headway.flask import Headway
from headway.flask.groups import is_management_command
from tests.migrator.scripts import write_project, write_revision

headway = Headway()


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    return write_project(tmp_path / "two", 2)


def flask_app(tmp_path: Path, **config: object) -> Flask:
    app = Flask("shop", root_path=str(tmp_path), instance_path=str(tmp_path / "instance"))
    app.config.from_mapping({"SQLALCHEMY_DATABASE_URI": "sqlite:///shop.db"} | config)
    return app


def with_db(tmp_path: Path, **config: object) -> tuple[Flask, SQLAlchemy]:
    app, db = flask_app(tmp_path, **config), SQLAlchemy()
    db.init_app(app)
    return app, db


def position(app: Flask, name: str = "default") -> str:
    with app.app_context():
        return headway.databases[name].status().position


# --- what it is bound to --------------------------------------------------------------------------


def test_in_memory_it_stays_what_it_was_brought_to(tmp_path: Path, scripts: Path) -> None:
    app, db = with_db(tmp_path, SQLALCHEMY_DATABASE_URI="sqlite://", TESTING=True)
    headway.init_app(app, db, scripts=str(scripts), ready_path="/ready")
    headway.bring_to_head(app)
    with app.app_context():
        assert sa.inspect(db.engine).has_table("alembic_version")
    assert app.test_client().get("/ready").json["state"] == "head"


def test_an_app_without_sqlalchemy_gives_a_url(tmp_path: Path, scripts: Path) -> None:
    app = flask_app(tmp_path)
    headway.init_app(app, scripts="two", url=tmp_path / "a.db", history=False)
    assert headway.bring_to_head(app).after.position == "at_head"
    with closing(sqlite3.connect(tmp_path / "a.db")) as file:
        assert "headway_history" not in str(
            file.execute("SELECT name FROM sqlite_master").fetchall()
        )


def test_several_databases_have_scripts_of_their_own(tmp_path: Path, scripts: Path) -> None:
    write_project(tmp_path / "others", 3)
    app, db = with_db(tmp_path, SQLALCHEMY_BINDS={"users": "sqlite:///users.db"})
    given = {"default": "two", "users": "others", "logs": "others"}
    headway.init_app(
        app, db, scripts=given, url={"logs": tmp_path / "logs.db"}, ready_path="/ready"
    )
    client, runner = app.test_client(), app.test_cli_runner()
    headway.bring_to_head(app)
    assert (tmp_path / "logs.db").exists()
    body = client.get("/ready").json
    assert {name: one["state"] for name, one in body["databases"].items()} == dict.fromkeys(
        given, "head"
    )
    with app.app_context():
        headway.databases["users"].downgrade("-1")
    body = client.get("/ready")
    assert (body.status_code, body.json["state"]) == (503, "behind")
    assert (
        "--bind NAME`, one of: default, users, logs"
        in runner.invoke(args=["headway", "status"]).stderr
    )
    done = runner.invoke(args=["headway", "--bind", "users", "status", "--check"])
    assert (done.exit_code, "behind" in done.stdout) == (3, True)
    done = runner.invoke(args=["headway", "upgrade"])
    assert done.stdout.count(" is at ") == 3
    assert client.get("/ready").status_code == 200


def test_flask_alembic_keeps_its_class_and_its_options(tmp_path: Path, scripts: Path) -> None:
    class Theirs(flask_alembic.Alembic):
        def rev_id(self) -> str:
            return "theirs"

    (tmp_path / "more" / "versions").mkdir(parents=True)
    write_revision(tmp_path / "more", "m1", None, ("op.execute('SELECT 1')",))
    app, db = with_db(
        tmp_path,
        ALEMBIC={"script_location": "two/versions", "version_locations": ["more/versions"]},
        ALEMBIC_CONTEXT={"version_table": "versions_of_shop"},
    )
    alembic = Theirs(run_mkdir=False)
    alembic.init_app(app)
    headway.init_app(app, db, alembic)
    assert isinstance(alembic, Theirs)
    assert alembic.rev_id() == "theirs"
    with app.app_context():
        assert set(headway.database.status().heads) == {"m1", "r002"}
        alembic.upgrade()
        assert headway.database.status().position == "at_head"
        assert len(headway.database.history()) == 3
        assert sa.inspect(db.engine).has_table("versions_of_shop")


def test_flask_alembic_is_all_or_nothing_on_sqlite_and_the_app_s_connections_stay_theirs(
    tmp_path: Path, scripts: Path
) -> None:
    half = ("op.execute('CREATE TABLE half (x)')", "op.execute('nonsense')")
    write_revision(scripts, "r003", "r002", half)
    app, db = with_db(tmp_path, ALEMBIC={"script_location": "two/versions"})
    alembic = flask_alembic.Alembic(app, run_mkdir=False)
    headway.init_app(app, db, alembic)

    def of_the_driver() -> tuple[object, ...]:
        with db.engine.connect() as connection:
            raw = connection.connection.dbapi_connection
            asked = ("foreign_keys", "busy_timeout")
            pragmas = [raw.execute(f"PRAGMA {name}").fetchone()[0] for name in asked]
            return (raw.isolation_level, *pragmas)

    with app.app_context():
        before = of_the_driver()
        with pytest.raises(MigrationFailed, match="nonsense"):
            alembic.upgrade()
        assert sa.inspect(db.engine).get_table_names() == []
        assert of_the_driver() == before


@pytest.fixture
def loggers() -> Iterator[None]:
    """Restores them: the `fileConfig` of plain Flask-Migrate's env.py disables all there are."""
    known = [logging.root, *logging.root.manager.loggerDict.values()]
    loggers = [one for one in known if isinstance(one, logging.Logger)]
    kept = [(one, one.level, one.disabled, one.handlers[:]) for one in loggers]
    yield
    for one, *values in kept:
        one.level, one.disabled, one.handlers = values


@pytest.mark.usefixtures("loggers")
@pytest.mark.filterwarnings("ignore:'get_engine':DeprecationWarning")
def test_functions_of_flask_migrate_that_were_imported_before_go_through_it_too(
    tmp_path: Path, scripts: Path
) -> None:
    from flask_migrate import downgrade, upgrade

    app, db = with_db(tmp_path)
    migrate = flask_migrate.Migrate(directory=str(tmp_path / "theirs"))
    migrate.init_app(app, db)
    with app.app_context():
        flask_migrate.init(str(tmp_path / "theirs"))
    for number, parent in ((1, None), (2, "m1")):
        write_revision(tmp_path / "theirs", f"m{number}", parent)
    headway.init_app(app, db, migrate)
    other, theirs = with_db(tmp_path / "other")
    flask_migrate.Migrate(other, theirs, directory=str(tmp_path / "theirs"))
    with app.app_context():
        upgrade()
        downgrade()
        flask_migrate.stamp()
        actions = [row.action for row in headway.database.history()]
        assert actions[:3] == ["upgrade", "upgrade", "downgrade"]
    with other.app_context():  # no Headway: as it was
        upgrade()
        assert not sa.inspect(theirs.engine).has_table("headway_history")


# --- what it refuses ------------------------------------------------------------------------------


def mistakes(tmp_path: Path) -> dict[str, tuple[Any, str]]:
    app, db = flask_app(tmp_path), SQLAlchemy()
    bound, ours = with_db(tmp_path)
    served, _ = with_db(tmp_path)
    served.test_client().get("/")
    migrate, alembic = flask_migrate.Migrate(), flask_alembic.Alembic(run_mkdir=False)
    twice, its = with_db(tmp_path)
    headway.init_app(twice, its, scripts="two")
    several = flask_alembic.Alembic(
        run_mkdir=False, metadatas={"a": sa.MetaData(), "b": sa.MetaData()}
    )
    both, of_both = with_db(tmp_path)
    several.init_app(both)
    init = headway.init_app
    return {
        "no db": (lambda: init(app, db, scripts="two"), "Call db.init_app(app) before"),
        "another db": (lambda: init(bound, db, scripts="two"), "with the same `db`"),
        "migrate first": (
            lambda: init(bound, ours, migrate),
            "Call migrate.init_app(app, db) before",
        ),
        "alembic first": (lambda: init(bound, ours, alembic), "Call alembic.init_app(app) before"),
        "neither": (lambda: init(bound, ours, object()), "neither Flask-Alembic nor Flask-Migrate"),
        "several at once": (lambda: init(both, of_both, several), "a script directory of its own"),
        "no scripts": (lambda: init(bound, ours), "Which revisions?"),
        "no place": (lambda: init(app, scripts="two"), 'give url="…"'),
        "no bind": (lambda: init(bound, ours, scripts={"x": "two"}), 'no database "x"'),
        "twice": (lambda: init(twice, its, scripts="two"), "once"),
        "served": (
            lambda: init(served, scripts="two", url="sqlite://"),
            "before the app is served",
        ),
        "not bound": (lambda: headway.bring_to_head(app), "before headway.bring_to_head(app)"),
    }


def test_each_mistake_in_the_order_is_refused_with_the_line_that_mends_it(
    tmp_path: Path, scripts: Path
) -> None:
    for name, (call, text) in mistakes(tmp_path).items():
        with pytest.raises(SetupInvalid) as refused:
            call()
        assert text in str(refused.value), name


def test_an_argument_wins_over_the_configuration_and_that_over_the_environment(
    tmp_path: Path, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADWAY_MIGRATE_ON_BOOT", "no")
    monkeypatch.setenv("HEADWAY_BOOT_WAIT_SECONDS", "soon")
    app, db = with_db(tmp_path)
    with pytest.raises(SettingInvalid, match="HEADWAY_BOOT_WAIT_SECONDS is 'soon'"):
        headway.init_app(app, db, scripts="two")
    app.config["HEADWAY_BOOT_WAIT_SECONDS"] = 1
    headway.init_app(app, db, scripts="two")
    with pytest.raises(DatabaseBehind, match="Run `flask headway upgrade`"):
        headway.bring_to_head(app)
    app, db = with_db(tmp_path, HEADWAY_MIGRATE_ON_BOOT=False)
    headway.init_app(app, db, scripts="two", migrate=True, wait=1)
    assert headway.bring_to_head(app).after.position == "at_head"


def test_an_env_py_that_makes_the_app_migrates_nothing(
    tmp_path: Path, scripts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import command
    from alembic.config import Config

    app, db = with_db(tmp_path)
    headway.init_app(app, db, scripts="two")
    found: list[object] = []
    monkeypatch.setattr(
        sys, "boots", lambda: found.append(headway.bring_to_head(app)), raising=False
    )
    (tmp_path / "two" / "env.py").write_text("import sys\nsys.boots()\n")
    config = Config()
    config.set_main_option("script_location", str(scripts))
    assert not is_management_command()
    command.current(config)
    assert found == [None]
    assert position(app) == "empty"
