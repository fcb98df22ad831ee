"""The Flask extension: an app's databases are brought to head before the app serves."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flask import Flask, Response, current_app, jsonify

from headway.boot import readiness as probes
from headway.boot import settings
from headway.boot.boot import Booted
from headway.boot.command import BOOTED
from headway.boot.progress import Narrator, Report, Reporting
from headway.database import Database
from headway.errors import SetupInvalid
from headway.flask import commands
from headway.flask.databases import DEFAULT, STATE, AppDatabase, State, engine_of, folder_in
from headway.flask.groups import CommandGroup, is_management_command, refusals
from headway.project import Project
from headway.words import Words

OURS = ("adopt", "history", "repair", "status", "upgrade", "validate", "wait")


class Headway:
    """Brings an app's databases to head, and says where they stand."""

    def init_app(
        self,
        app: Flask,
        db: Any = None,
        migrations: Any = None,
        *,
        scripts: Any = None,
        url: Any = None,
        wait: float | None = None,
        lock_wait: float | None = None,
        migrate: bool | None = None,
        on_newer: str | None = None,
        snapshot: bool | None = None,
        history: bool | None = None,
        release: str | None = None,
        ready_path: str | None = None,
        sole: bool = False,
        report: Report | None = None,
        words: Words | None = None,
        on_booted: Callable[[Booted], object] | None = None,
        on_upgraded: Callable[[], object] | None = None,
        command: str = "headway",
    ) -> None:
        """Bind to an app. Opens nothing.

        `db` is a Flask-SQLAlchemy and `migrations` a Flask-Alembic or a Flask-Migrate, both bound
        already; their runs then go through Headway. Without these, `scripts` is a script directory
        and `url` a URL, a path or an engine; each may be a dict by name, where an app has several
        databases. What is not given is taken from `app.config`, then from the environment: see
        docs/flask.md. `sole` is Policy's. `on_booted` is called in an app context after a boot that
        went well, once for a whole server; `on_upgraded` after each upgrade by `migrations`.
        `command` is the name of the group of commands; "" for none. Raises SetupInvalid, which
        has the line that is missing, and SettingInvalid.
        """
        _refuse_late(app, "headway.init_app")
        if STATE in app.extensions:
            raise SetupInvalid(
                "Headway is bound to this app already. Call headway.init_app(app, …) once; several "
                "databases go into `scripts` and `url`."
            )
        given = {"wait": wait, "lock_wait": lock_wait, "migrate": migrate, "on_newer": on_newer}
        given |= {"snapshot": snapshot, "history": history, "release": release}
        found = settings.resolve(given | {"ready_path": ready_path}, app.config)
        words = words or _words(migrations, command)
        policy = {name: found[name] for name in ("lock_wait", "snapshot", "history")}
        policy |= {"sole": sole, "release": found["release"] or "headway", "words": words}
        state = State(
            databases=_databases(app, db, migrations, scripts=scripts, url=url, policy=policy),
            progress=Reporting(report or Narrator(words), found["release"]),
            wait=found["wait"],
            on_newer=found["on_newer"],
            migrate=found["migrate"],
            on_booted=on_booted,
            on_upgraded=on_upgraded,
        )
        _bind(app, migrations, state)
        app.extensions[STATE] = state
        if command:
            app.cli.add_command(commands.group(command))
        if found["ready_path"]:
            app.add_url_rule(found["ready_path"], "headway_readiness", self._readyz)

    def bring_to_head(self, app: Flask, *, always: bool = False) -> Booted | None:
        """Bring each database of an app to head; the first one's boot. The last line of a factory.

        Any number of processes may call it. Nothing happens, and None is returned, while a command
        such as `flask db …` or `flask routes` loads the app, or an env.py does, unless `always`.
        Raises the HeadwayError that says why a database cannot be served; it is then as it was.
        """
        state = _state_of(app, "headway.bring_to_head(app)")
        if not always and is_management_command():
            return None
        # Flask-Alembic closes a running migration's connection when a request of the app ends.
        _refuse_late(app, "headway.bring_to_head")
        with refusals(), app.app_context():
            before = set(filter(None, os.environ.get(BOOTED, "").split(",")))
            for name, one in state.databases.items():
                booted = bool(before) and before >= set(one.project.heads)
                state.booted[name] = state.bring_to_head(one, booted=booted, migrate=state.migrate)
        return next(iter(state.booted.values()))

    @property
    def database(self) -> Database:
        """The current app's database, the first if it has several."""
        return _state_of(current_app, "headway.database").first.database

    @property
    def databases(self) -> dict[str, Database]:
        """The current app's databases by name; `default` is the one of an app that has one."""
        state = _state_of(current_app, "headway.databases")
        return {name: one.database for name, one in state.databases.items()}

    def readiness(self) -> probes.Answer:
        """Whether requests may come, and the body that says why. One query for each database."""
        answers = {name: probes.readiness(one) for name, one in self.databases.items()}
        ready = all(answer for answer, _ in answers.values())
        if len(answers) == 1:
            return ready, next(iter(answers.values()))[1]
        states = [body["state"] for answer, body in answers.values() if answer == ready]
        worst = "degraded" if "degraded" in states else states[0]
        return ready, {"state": worst, "databases": {k: body for k, (_, body) in answers.items()}}

    def state(self) -> str:
        """`head`, `degraded`, `behind` or `empty`: one query. Raises where it cannot be read."""
        return probes.state(self.database)

    def _readyz(self) -> tuple[Response, int]:
        ready, body = self.readiness()
        response = jsonify(body)
        response.headers["Cache-Control"] = "no-store"
        if not ready:
            response.headers["Retry-After"] = "2"
        return response, 200 if ready else 503


def _refuse_late(app: Flask, what: str) -> None:
    if app._got_first_request:  # noqa: SLF001  # FRAGILE: private; Flask's own setup methods ask it
        raise SetupInvalid(
            f"The app has served a request already. Call {what}(app) in the factory, before the "
            "app is served."
        )


def _state_of(app: Flask, what: str) -> State:
    state: State | None = app.extensions.get(STATE)
    if state is None:
        raise SetupInvalid(
            f"Headway is not bound to this app. Call headway.init_app(app, …) before {what}."
        )
    return state


def _words(migrations: Any, command: str) -> Words:
    """How messages name the commands of an app: by what it has."""
    db = getattr(migrations, "command_name", None) or getattr(migrations, "command", None)
    ours = {name: f"flask {command} {name}" for name in OURS} if command else {}
    theirs = {name: f"flask {db} {name}" for name in ("downgrade", "merge", "stamp", "upgrade")}
    return Words(commands=ours | (theirs if db else {}), settings=settings.WORDS.settings)


def _databases(
    app: Flask, db: Any, migrations: Any, *, scripts: Any, url: Any, policy: Mapping[str, Any]
) -> dict[str, AppDatabase]:
    scripts = scripts or (None if migrations else _setting(app, "HEADWAY_MIGRATE_SCRIPTS"))
    folders = dict(scripts) if isinstance(scripts, Mapping) else {DEFAULT: scripts}
    if migrations and folders.get(DEFAULT):
        raise SetupInvalid(
            "The default database has two script directories: the one of Flask-Alembic or "
            "Flask-Migrate, and `scripts`. Take one of them away."
        )
    if migrations is None and not all(folders.values()):
        raise SetupInvalid(
            "Which revisions? Call headway.init_app(app, db, migrations), where `migrations` is "
            'the Flask-Alembic or the Flask-Migrate, or give scripts="migrations".'
        )
    urls = url if isinstance(url, Mapping) else {DEFAULT: url}
    found = {}
    for name, folder in ({DEFAULT: None} | folders if migrations else folders).items():
        where = urls.get(name)
        if where is None and db is None and name == DEFAULT:
            where = _setting(app, "HEADWAY_MIGRATE_URL")
        if where is None and db is None:
            raise SetupInvalid(
                f"Where is the {name} database? Call headway.init_app(app, db, …) with your "
                'Flask-SQLAlchemy, or give url="…".'
            )
        found[name] = AppDatabase(
            load=partial(Project.load, folder_in(app, folder)),  # or what `_bind` puts there
            where=engine_of(app, db, name) if where is None else partial(_same, where),
            policy=policy,
        )
    return found


def _same(where: Any) -> Any:
    return where


def _setting(app: Flask, variable: str) -> str | None:
    return app.config.get(variable) or os.environ.get(variable) or None


def _bind(app: Flask, migrations: Any, state: State) -> None:
    """Let the runs of Flask-Alembic or Flask-Migrate go through Headway."""
    if migrations is None:
        return
    if hasattr(migrations, "run_migrations"):
        _bind_flask_alembic(app, migrations, state)
        command = migrations.command_name
    elif hasattr(migrations, "get_config"):
        _bind_flask_migrate(app, migrations, state)
        command = migrations.command
    else:
        raise SetupInvalid(
            f"{type(migrations).__name__} is neither Flask-Alembic nor Flask-Migrate. Call "
            "headway.init_app(app, db, migrations) with one of them."
        )
    if group := app.cli.commands.get(command):
        app.cli.add_command(CommandGroup.around(group), command)  # type: ignore[arg-type]


def _bind_flask_alembic(app: Flask, alembic: Any, state: State) -> None:
    from headway.flask import flask_alembic  # noqa: PLC0415  # one of the two is there

    bound: Any = app.extensions.get("alembic")
    if bound is not alembic:
        raise SetupInvalid(
            "Flask-Alembic is not bound to the app. Call alembic.init_app(app) before "
            "headway.init_app(app, db, alembic)."
        )

    def upgrade() -> None:
        with app.app_context():  # Flask-Alembic keeps a connection in each
            alembic.upgrade()

    flask_alembic.bind(alembic)
    state.first.load = partial(flask_alembic.project_of, app)
    state.first.upgrade = upgrade
    app.extensions[flask_alembic.SEAMS] = state


def _bind_flask_migrate(app: Flask, migrate: Any, state: State) -> None:
    from headway.flask import flask_migrate  # noqa: PLC0415

    bound = app.extensions.get("migrate")
    if bound is None or bound.migrate is not migrate:
        raise SetupInvalid(
            "Flask-Migrate is not bound to the app. Call migrate.init_app(app, db) before "
            "headway.init_app(app, db, migrate)."
        )
    flask_migrate.bind()
    state.first.load = partial(flask_migrate.project_of, migrate)
    app.extensions[flask_migrate.RUNS] = state
