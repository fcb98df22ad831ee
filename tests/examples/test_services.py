"""`examples/flask-app`, `fastapi-app` and `script`, as real processes: any program boots."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL

from headway import Project
from tests.examples.services import (
    EXAMPLES,
    PATIENCE,
    asked_all_the_time,
    copied,
    environment,
    free_port,
    get,
    running,
    until,
)

VARIANTS = ("with_flask_migrate", "with_flask_alembic", "with_scripts")
BOOT = ("headway", "boot", "--scripts", "migrations", "--bind", "127.0.0.1:{port}", "--")
UVICORN = ("uvicorn", "main:app", "--fd", "{{fd}}")
SERVERS = {
    "gunicorn with hooks": ("flask-app", ("gunicorn",)),
    "gunicorn after headway boot": (
        "flask-app",
        (
            *("headway", "boot", "--app", "app.with_scripts:create_app()"),
            *("--bind", "127.0.0.1:{port}", "gunicorn", "-w", "2", "-c", "/dev/null"),
            "app.with_scripts:create_app()",
        ),
    ),
    "uvicorn after headway boot": ("fastapi-app", (*BOOT, *UVICORN)),
    "uvicorn's workers after headway boot": ("fastapi-app", (*BOOT, *UVICORN, "--workers", "2")),
}


def run(*command: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=environment(None, **env),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=PATIENCE,
    )


def ready(port: int) -> bool:
    found = get(port, "/readyz")
    return found is not None and found[0] == 200


# --- the port meanwhile ---------------------------------------------------------------------------


@pytest.mark.parametrize("server", SERVERS)
def test_probes_are_answered_until_the_server_does_it_itself(
    server: str, sqlite_url: URL, tmp_path: Path
) -> None:
    example, command = SERVERS[server]
    port = free_port()
    command = tuple(part.format(port=port) for part in command)
    cwd = copied(example, tmp_path, slow=True)
    env = environment(sqlite_url, PORT=str(port))
    with running(command, cwd, env, tmp_path) as service:
        service.until_migrating()
        assert get(port, "/healthz") == (200, {"state": "alive"})
        with asked_all_the_time(port) as wrong:
            status, body = until(
                lambda: (found := get(port, "/readyz")) and found[1].get("running") and found
            )
            assert status == 503
            assert (body["state"], body["revision"]) == ("migrating", "3 of 3")
            assert body["running"] == "f0003"
            assert get(port, "/")[0] == 503
            service.go.touch()
            until(lambda: ready(port))
            assert get(port, "/") == (200, [])
        assert wrong == []
        assert service.stop() in (0, -signal.SIGTERM)
    history = Project.load(EXAMPLES / "fastapi-app" / "migrations").at(sqlite_url).history()
    assert [row.revision for row in history] == ["f0001", "f0002", "f0003"]


def test_a_server_that_takes_no_socket_gets_the_port(sqlite_url: URL, tmp_path: Path) -> None:
    port = free_port()
    command = (*(part.format(port=port) for part in BOOT), "uvicorn", "main:app")
    cwd = copied("fastapi-app", tmp_path, slow=True)
    with running(
        (*command, "--port", str(port)), cwd, environment(sqlite_url), tmp_path
    ) as service:
        service.until_migrating()
        assert get(port, "/readyz")[0] == 503
        service.go.touch()
        until(lambda: ready(port))


@pytest.mark.parametrize("server", ["gunicorn with hooks", "uvicorn after headway boot"])
def test_one_that_was_killed_in_the_middle_is_brought_to_head_by_the_next(
    server: str, catalog_url: URL, tmp_path: Path
) -> None:
    example, command = SERVERS[server]
    port = free_port()
    command = tuple(part.format(port=port) for part in command)
    cwd = copied(example, tmp_path, slow=True)
    env = environment(catalog_url, PORT=str(port))
    with running(command, cwd, env, tmp_path) as service:
        service.until_migrating()
        service.process.kill()
        service.process.wait()
    if catalog_url.get_backend_name() == "mysql":  # where each statement commits: never blindly
        with running(command, cwd, env, tmp_path) as refused:
            assert refused.process.wait(PATIENCE) == 1
            assert "repair" in refused.log.read_text()
        repair = ("headway", "repair", "--scripts", "migrations", "--yes")
        if example == "flask-app":
            repair = ("flask", "--app", "app.with_flask_migrate", "headway", "repair", "--yes")
        done = subprocess.run(repair, cwd=cwd, env=env, capture_output=True, text=True)
        assert "Repaired." in done.stdout, done.stderr
    with running(command, cwd, env, tmp_path):
        until(lambda: ready(port))


def test_sigterm_ends_a_boot_and_nothing_of_it_stays(sqlite_url: URL, tmp_path: Path) -> None:
    cwd = copied("fastapi-app", tmp_path, slow=True)
    command = ("headway", "boot", "--scripts", "migrations", "--", "touch", "served")
    with running(command, cwd, environment(sqlite_url), tmp_path) as service:
        service.until_migrating()
        assert service.stop() == 75, service.log.read_text()
    assert not (cwd / "served").exists()
    assert Project.load(cwd / "migrations").at(sqlite_url).status().position == "empty"


def test_without_a_command_it_is_an_init_container(sqlite_url: URL, tmp_path: Path) -> None:
    cwd = copied("fastapi-app", tmp_path)
    url = {"HEADWAY_MIGRATE_URL": str(sqlite_url)}
    done = run("headway", "boot", "--scripts", "migrations", cwd=cwd, **url)
    assert done.returncode == 0, done.stderr
    assert "revision 2 of 2: f0002" in done.stderr
    show = ("sh", "-c", "echo $HEADWAY_BOOTED_HEADS; trap; exit 7")
    done = run("headway", "boot", "--scripts", "migrations", *show, cwd=cwd, **url)
    assert (done.returncode, done.stdout) == (7, "f0002\n")
    once = ("headway", "boot", "--scripts", "migrations")
    done = run(*once, *once, "echo", "both", cwd=cwd, **url)
    assert (done.returncode, done.stdout) == (0, "both\n"), "several databases, one after another"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--scripts", "nowhere", "true"), 78, "There is no script directory"),
        (("--scripts", "migrations", "no-such-program"), 2, "no program no-such-program"),
        (("--scripts", "migrations", "--bind", "8000", "true"), 2, "give HOST:PORT"),
        (("--scripts", "migrations", "uvicorn", "--fd", "{fd}"), 2, "give that too"),
        (("true",), 2, "Which scripts?"),
    ],
)
def test_what_it_cannot_do_it_says_before_it_serves(
    arguments: tuple[str, ...], code: int, text: str, tmp_path: Path
) -> None:
    cwd = EXAMPLES / "fastapi-app"
    url = f"sqlite:///{tmp_path / 'a.db'}"
    done = run("headway", "boot", *arguments, cwd=cwd, HEADWAY_MIGRATE_URL=url)
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert not (tmp_path / "a.db").exists()


# --- Flask ----------------------------------------------------------------------------------------

STORY = """
import importlib, json, os
from headway.flask.databases import STATE

module = importlib.import_module("app." + os.environ["VARIANT"])
app = module.create_app()
runner, client = app.test_cli_runner(), app.test_client()
said = {"ready": client.get("/readyz").json["state"]}


def flask(*command):
    done = runner.invoke(args=command)
    return [done.exit_code, done.output.strip().splitlines()]


if "db" in app.cli.commands:
    said["down"] = flask("db", "downgrade", *(["f0001"]))
    said["behind"] = client.get("/readyz").status_code
    said["up"] = flask("db", "upgrade")
    said["wrong"] = flask("db", "upgrade", "nothing")
said["status"] = flask("headway", "status", "--check", "--json")[0]
said["validate"] = flask("headway", "validate")
said["wait"] = flask("headway", "wait")[0]
said["history"] = [row["action"] for row in json.loads("".join(flask("headway", "history", "--json")[1]))]
print(json.dumps(said))
"""


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_way_to_run_revisions_goes_through_headway(
    variant: str, catalog_url: URL, tmp_path: Path
) -> None:
    (tmp_path / "story.py").write_text(STORY)
    done = run(
        *(sys.executable, "-c", STORY),
        cwd=EXAMPLES / "flask-app",
        VARIANT=variant,
        DATABASE_URL=catalog_url.render_as_string(hide_password=False),
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["ready"] == "head"
    actions = ["upgrade", "upgrade"]
    if variant != "with_scripts":
        assert (said["down"][0], said["behind"], said["up"][0]) == (0, 503, 0), said
        assert said["wrong"][0] == 1
        actions += ["downgrade", "upgrade"]
    assert (said["status"], said["wait"]) == (0, 0)
    assert said["validate"] == [0, ["The scripts are the ones that made this database."]]
    assert said["history"] == actions


def test_a_command_that_loads_the_app_migrates_nothing(sqlite_url: URL) -> None:
    where = {"FLASK_APP": "app.with_flask_migrate", "DATABASE_URL": str(sqlite_url)}
    for command in (("flask", "routes"), ("flask", "headway", "status")):
        done = run(*command, cwd=EXAMPLES / "flask-app", **where)
        assert done.returncode == 0, done.stderr
    assert "empty" in done.stdout
    done = run("flask", "headway", "upgrade", cwd=EXAMPLES / "flask-app", **where)
    assert done.stdout.endswith("is at f0002.\n")


MODEL = """
import sqlalchemy as sa

metadata = sa.MetaData()
columns = [sa.Column("id", sa.Integer, primary_key=True), sa.Column("price", sa.Integer)]
sa.Table("item", metadata, *columns, sa.Column("name", sa.String(100), nullable=False))
"""


@pytest.mark.parametrize("variant", VARIANTS[:2])
def test_autogenerate_leaves_the_history_table_alone(variant: str, sqlite_url: URL) -> None:
    """Neither the extensions' own commands nor plain Alembic write a revision that drops it."""
    where = {"FLASK_APP": f"app.{variant}", "DATABASE_URL": str(sqlite_url)}
    folder = EXAMPLES / "flask-app"
    assert run("flask", "headway", "upgrade", cwd=folder, **where).returncode == 0
    assert "headway_history" in sa.inspect(sa.create_engine(sqlite_url)).get_table_names()
    done = run("flask", "db", "check", cwd=folder, **where)
    assert done.returncode == 0, done.stdout + done.stderr


def test_plain_autogenerate_leaves_it_alone_too(tmp_path: Path) -> None:
    folder = copied("fastapi-app", tmp_path)
    env = folder / "migrations" / "env.py"
    configured = "context.configure(connection=here, target_metadata=metadata)"
    env.write_text(
        MODEL + env.read_text().replace("context.configure(connection=here)", configured)
    )
    (folder / "alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
    url = f"sqlite:///{tmp_path}/shop.db"
    done = run("headway", "boot", cwd=folder, HEADWAY_MIGRATE_URL=url)
    assert done.returncode == 0, done.stderr
    assert "headway_history" in sa.inspect(sa.create_engine(url)).get_table_names()
    done = run("alembic", "check", cwd=folder, HEADWAY_MIGRATE_URL=url)
    assert done.returncode == 0, done.stdout + done.stderr


def test_flask_migrate_s_scripts_are_used_inside_the_app(sqlite_url: URL) -> None:
    """Its env.py asks for the app that `flask` knows."""
    where = {"FLASK_APP": "app.with_flask_migrate", "DATABASE_URL": str(sqlite_url)}
    for command in (("status",), ("lint",), ("check",)):
        done = run(
            *("flask", "migrate", *command, "--scripts", "migrations"),
            cwd=EXAMPLES / "flask-app",
            **where,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "application context" not in done.stderr


# --- a script -------------------------------------------------------------------------------------


def test_a_script_brings_its_database_to_head(tmp_path: Path) -> None:
    copied("fastapi-app", tmp_path)
    done = run(sys.executable, "report.py", cwd=copied("script", tmp_path))
    assert (done.returncode, done.stdout) == (0, "0 items\n"), done.stderr


def test_it_finds_scripts_and_url_where_alembic_does(tmp_path: Path) -> None:
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "one.py").write_text(
        'revision, down_revision = "one", None\ndef upgrade(): pass\n'
    )
    ini = tmp_path / "alembic.ini"
    ini.write_text("[alembic]\nscript_location = .\nsqlalchemy.url = sqlite:///found.db\n")
    done = run("headway", "boot", "--", "true", cwd=tmp_path, HEADWAY_MIGRATE_URL="")
    assert done.returncode == 0, done.stderr
    assert "found.db is at one" in done.stderr
    assert (tmp_path / "found.db").exists()
    ini.write_text("[alembic]\nscript_location = .\n")
    done = run("headway", "boot", "--", "true", cwd=tmp_path, HEADWAY_MIGRATE_URL="")
    assert done.returncode == 2, done.stderr
    assert "Which database?" in done.stderr


@pytest.mark.parametrize("options", [("-n", "other", "boot"), ("boot", "-n", "other")])
def test_it_takes_scripts_and_url_of_the_same_section(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "b" / "versions").mkdir(parents=True)
    (tmp_path / "b" / "versions" / "two.py").write_text(
        'revision, down_revision = "two", None\ndef upgrade(): pass\n'
    )
    (tmp_path / "alembic.ini").write_text(
        "[alembic]\nscript_location = a\nsqlalchemy.url = sqlite:///a.db\n"
        "[other]\nscript_location = b\nsqlalchemy.url = sqlite:///b.db\n"
    )
    done = run("headway", *options, "--", "true", cwd=tmp_path, HEADWAY_MIGRATE_URL="")
    assert done.returncode == 0, done.stderr
    assert "b.db is at two" in done.stderr
    assert not (tmp_path / "a.db").exists()
