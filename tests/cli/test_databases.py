"""`flask projects`, `flask databases` and `flask catalog rotate-keys`."""

import json
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskCliRunner
from sqlalchemy.engine import URL

from headway import Project as Scripts
from tests.fleet.fleets import working
from tests.migrator.making import run
from tests.support.commands import run_forking


class Shell:
    """Runs commands and tells what they say."""

    def __init__(self, runner: FlaskCliRunner) -> None:
        self.runner = runner

    def __call__(self, *args: str, code: int = 0, typed: str | None = None) -> Result:
        done = self.runner.invoke(args=[str(arg) for arg in args], input=typed)
        assert done.exit_code == code, done.output
        return done

    def json(self, *args: str) -> dict[str, object]:
        return dict(json.loads(self(*args, "--json").stdout))


@pytest.fixture
def app(shop_app: Flask) -> Flask:
    return shop_app


@pytest.fixture
def scripts(shop_scripts: Path) -> Path:
    return shop_scripts


@pytest.fixture
def shell(runner: FlaskCliRunner, scripts: Path) -> Shell:
    made = Shell(runner)
    made("projects", "create", "shop", str(scripts))
    return made


@pytest.fixture
def worker(app: Flask) -> Iterator[None]:
    with working(app):
        yield


def names(shell: Shell, *args: str) -> list[str]:
    return [row["name"] for row in listed(shell, *args)]


def listed(shell: Shell, *args: str) -> list[dict[str, str]]:
    return list(shell.json("databases", "list", *args)["items"])  # type: ignore[call-overload]


def test_a_project_from_its_making_to_its_end(shell: Shell, scripts: Path) -> None:
    assert "waiting" in shell("projects", "list").stdout
    changed = shell.json("projects", "change", "shop", "--notes", "n", "-x", "tenant=a")
    assert (changed["notes"], changed["x"]) == ("n", {"tenant": "a"})
    assert shell.json("projects", "change", "shop", "--notes", "")["notes"] is None
    assert "Deleted" in shell("projects", "delete", "shop", typed="y\n").stdout
    shell("projects", "show", "shop", code=1)


def test_databases_are_registered_listed_and_shown(shell: Shell, data: Path) -> None:
    shell("accounts", "create", "Ada", "--email", "ada@example.org")
    made = shell.json(
        *("databases", "register", "--project", "shop", "--url", f"sqlite:///{data}/a.db"),
        *("--label", "tier=gold", "--owner", "ada@example.org", "--notes", "n"),
    )
    assert (made["name"], made["owner"], made["labels"]) == ("a", "Ada", {"tier": "gold"})
    assert shell.json("databases", "show", "shop/a") == made
    shell("databases", "register", "--project", "shop", "--reference", "env:B_URL")
    assert names(shell, "--label", "tier=gold") == ["a"]
    assert names(shell, "--owner", "ada@example.org", "--project", "shop") == ["a"]
    assert names(shell, "--position", "unknown", "--limit", "1") == ["a"]
    plain = shell("databases", "list")
    assert plain.stdout.splitlines()[1].split("\t")[:4] == ["1", "shop", "a", "unknown"]
    again = shell("databases", "register", "--project", "shop", "--url", f"{data}/a.db", code=1)
    assert "database 1 (a)" in again.output


def test_a_url_is_read_from_a_file_and_not_shown(shell: Shell, tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("postgresql://u:s3cr3t-w0rd@h/acme\n")
    args = ("databases", "register", "--project", "shop")
    assert "s3cr3t-w0rd" not in shell(*args, "--url-file", str(file)).output
    typed = "mysql://u:s3cr3t-w0rd@h/acme2\n"
    assert "s3cr3t-w0rd" not in shell(*args, "--url-file", "-", typed=typed).output
    assert "s3cr3t-w0rd" not in shell("databases", "list", "--json").output
    shell(*args, "--url", "mysql://h/x", "--reference", "env:X", code=2)


def test_an_import_says_what_it_could_not(shell: Shell, data: Path, scripts: Path) -> None:
    for name in ("eu/a", "us/b"):
        (data / name).parent.mkdir()
        Scripts.load(scripts).at(data / f"{name}.db").create("r001")
    args = ("databases", "import", "--project", "shop")
    pattern = ("--files", f"{data}/*/*.db", "--labels", "/(?P<region>eu|us)/")
    assert "Registered 2; 0 were registered already." in shell(*args, *pattern).stdout
    assert names(shell, "--label", "region=eu") == ["eu/a"]
    table = data / "list.csv"
    table.write_text(f"name,url,label.tier\nc,{data}/c.db,gold\nd,/etc/passwd,\n")
    done = shell(*args, str(table), code=4)
    assert "Registered 1; 0 were registered already." in done.stdout
    assert "3: /etc/passwd lies outside the allowed folders" in done.stderr
    lines = data / "list.jsonl"
    lines.write_text(f'{{"name": "e", "url": "{data}/e.db"}}\n')
    assert shell.json(*args, str(lines)) == {"added": 1, "known": 0, "refused": []}
    shell(*args, code=2)


def test_a_servers_databases_are_imported(
    shell: Shell, tmp_path: Path, postgresql_url: URL
) -> None:
    file = tmp_path / "server"
    file.write_text(postgresql_url.set(database="").render_as_string(hide_password=False))
    args = ("databases", "import", "--project", "shop", "--server-file", str(file))
    assert shell.json(*args, "--names", str(postgresql_url.database))["added"] == 1
    assert names(shell) == [str(postgresql_url.database)]


def test_a_databases_schemas_are_imported(
    shell: Shell, tmp_path: Path, postgresql_url: URL
) -> None:
    run(postgresql_url, *(f"CREATE SCHEMA {name}" for name in ("gold_a", "free_b", "other")))
    file = tmp_path / "url"
    file.write_text(postgresql_url.render_as_string(hide_password=False))
    args = ("databases", "import", "--project", "shop", "--server-file", str(file))
    find = ("--schemas", "*_*", "--labels", "(?P<tier>[a-z]+)_")
    assert "Registered 2; 0 were registered already." in shell(*args, *find).stdout
    assert names(shell, "--label", "tier=gold") == ["gold_a"]
    assert "Registered 0; 2 were registered already." in shell(*args, *find).stdout
    shown = shell.json("databases", "show", "gold_a")
    assert str(shown["address"]).endswith(f"/{postgresql_url.database}?schema=gold_a")
    none = shell(*args, "--schemas", "tenant_*", code=1)
    assert "No schema of this database matches tenant_*." in none.output
    for more in (("--names", "*"), ("--files", "*.db")):
        assert "--schemas looks in one database" in shell(*args, *find, *more, code=2).output
    file.write_text("postgresql://u:s3cr3t-w0rd@127.0.0.1:1")
    nameless = shell(*args, *find, code=2)
    assert "This URL names no database." in nameless.output
    assert "s3cr3t-w0rd" not in nameless.output


def test_labels_pins_and_changes(shell: Shell, data: Path) -> None:
    for name in ("a", "b"):
        shell("databases", "register", "--project", "shop", "--url", f"{data}/{name}.db")
    label = ("databases", "label", "--project", "shop", "--set", "wave=1")
    assert "Changed 2 databases." in shell(*label).stdout
    shell("databases", "label", "--set", "wave=2", code=1, typed="n\n")
    changed = shell.json(
        "databases", "change", "a", "--name", "c", "--unlabel", "wave", "--label", "x=y"
    )
    assert (changed["name"], changed["labels"]) == ("c", {"x": "y"})
    pinned = shell.json("databases", "pin", "c", "--reason", "audit", "--until", "2099-01-31")
    assert str(pinned["pin_until"]).startswith("2099-01-3")
    assert names(shell, "--pinned") == ["c"]
    assert names(shell, "--not-pinned") == ["b"]
    shell("databases", "unpin", "c")
    for wrong in (("--until", "soon"), (), ("--days", "1", "--until", "2099-01-31")):
        shell("databases", "pin", "c", "--reason", "r", *wrong, code=2)


@pytest.mark.usefixtures("worker")
def test_create_retire_and_drop_ask_before_they_do(shell: Shell, data: Path) -> None:
    create = ("databases", "create", "--project", "shop", "--url")
    for name in ("a", "b"):
        assert shell.json(*create, f"{data}/{name}.db")["current"] == "r002"
    shell("databases", "retire", "a", code=1, typed="n\n")
    assert names(shell) == ["a", "b"]
    assert "was not changed" in shell("databases", "retire", "a", typed="y\n").stdout
    shell("databases", "drop", "b", code=1, typed="n\n")
    shell("databases", "drop", "b", code=2, typed="y\nB\n")
    shell("databases", "drop", "b", "--yes", code=2, typed="\n")
    assert (data / "b.db").exists()
    dropped = shell("databases", "drop", "b", typed="y\nb\n").stdout
    snapshot = dropped.partition("Its snapshot is ")[2].strip().rstrip(".")
    assert Path(snapshot).is_file()
    assert not (data / "b.db").exists()
    assert len(names(shell, "--retired")) == 2


@pytest.mark.usefixtures("worker")
def test_create_says_what_went_wrong(shell: Shell, data: Path) -> None:
    (data / "a.db").write_text("somebody's")
    create = ("databases", "create", "--project", "shop", "--url", f"{data}/a.db")
    assert "already exists. Register it instead." in shell(*create, code=1).stderr
    assert (data / "a.db").read_text() == "somebody's"
    assert names(shell) == []


def test_create_does_not_wait_if_it_is_told_so(shell: Shell, app: Flask, data: Path) -> None:
    create = ("databases", "create", "--project", "shop", "--url")
    said = shell(*create, f"{data}/a.db", "--no-wait").stdout
    assert said == "Started rollout 1. `flask rollouts watch 1` waits for it.\n"
    begun = shell.json(*create, f"{data}/b.db", "--no-wait")
    assert (begun["id"], begun["kind"], begun["title"]) == (2, "create", "create of b")
    assert [row["position"] for row in listed(shell)] == ["unknown", "unknown"]
    with working(app):
        shell("rollouts", "watch", "2")
    assert (data / "b.db").exists()


def test_create_says_that_no_worker_is_alive(shell: Shell, data: Path) -> None:
    create = ("databases", "create", "--project", "shop", "--url", f"{data}/a.db")
    timer = threading.Timer(2, signal.raise_signal, [signal.SIGINT])
    timer.start()
    done = shell(*create, code=130)
    assert "No worker is running" in done.stderr
    assert "Rollout 1 continues" in done.stderr


@pytest.mark.usefixtures("worker")
def test_status_counts_and_checks(shell: Shell, data: Path) -> None:
    shell("databases", "status", "--check")
    shell("databases", "create", "--project", "shop", "--url", f"{data}/a.db", "--label", "t=1")
    shell("databases", "status", "--check")
    shell("databases", "register", "--project", "shop", "--url", f"{data}/b.db")
    said = shell("databases", "status", "--by", "label.t", code=0).stdout
    assert said.splitlines()[:3] == [
        "project\tat head\tunknown\tdatabases",
        "shop\t1\t1\t2",
        "all\t1\t1\t2",
    ]
    shell("databases", "status", "--check", "--project", "shop", code=3)
    assert shell.json("databases", "status")["positions"] == {"at_head": 1, "unknown": 1}


def test_keys_are_rotated_by_command(shell: Shell, data: Path) -> None:
    shell("databases", "register", "--project", "shop", "--url", f"{data}/a.db")
    assert shell.json("catalog", "rotate-keys") == {"renewed": 0, "fresh": 1, "unreadable": 0}


def test_an_import_that_finds_nothing_says_so(shell: Shell, data: Path) -> None:
    args = ("databases", "import", "--project", "shop", "--files")
    wrong = f"{data}/nothere/*.db"
    assert f"Nothing matches {wrong}." in shell(*args, wrong, code=1).stderr
    (data / "notes.db").write_text("no database")
    said = shell(*args, f"{data}/*.db", code=1).stderr
    assert f"Nothing that matches {data}/*.db is a SQLite database." in said


def test_one_database_is_one(shell: Shell, data: Path) -> None:
    shell("databases", "register", "--project", "shop", "--url", f"{data}/a.db")
    told = shell("databases", "label", "--project", "shop", "--set", "wave=1").stdout
    assert told == "Changed 1 database.\n"


def test_who_asks_for_the_unreachable_is_told_why(shell: Shell, data: Path) -> None:
    shell("databases", "register", "--project", "shop", "--url", f"{data}/a.db")
    shell("projects", "load", "shop")
    asked = shell("databases", "refresh", "--project", "shop")
    assert "Asked\n" not in asked.stdout + asked.stderr
    head, row = shell("databases", "list", "--position", "unreachable").stdout.splitlines()
    assert head.split("\t")[-1] == "reason"
    assert "a.db" in row.split("\t")[-1]
    assert "reason" not in shell("databases", "list").stdout


@pytest.mark.usefixtures("worker")
def test_what_is_done_is_told_as_json(shell: Shell, data: Path) -> None:
    for name in ("a", "b"):
        shell("databases", "create", "--project", "shop", "--url", f"{data}/{name}.db")
    label = ("databases", "label", "--project", "shop", "--set", "wave=1")
    assert shell.json(*label) == {"changed": 2}
    refresh = ("databases", "refresh", "--project", "shop")
    asked = {"project": "shop", "databases": 2}
    shell("projects", "load", "shop")
    assert shell.json(*refresh) == asked | {"asked": 2, "later": False}
    assert shell.json(*refresh, "--later") == asked | {"asked": 0, "later": True}
    retired = shell.json("databases", "retire", "a", "--yes")
    assert (retired["id"], retired["retired_at"] is None) == (1, False)
    dropped = shell.json("databases", "drop", "b", "--yes", "--confirm", "b")
    assert Path(str(dropped["snapshot"])).is_file()


def test_a_project_that_is_deleted_is_told_as_json(shell: Shell) -> None:
    told = shell("projects", "delete", "shop", "--json", typed="y\n")
    assert json.loads(told.stdout) == {"id": 1, "name": "shop", "deleted": True}


PAGE = Path(__file__).parents[2] / "docs" / "fleet.md"


def test_the_page_about_the_fleet_runs_as_written(tmp_path: Path) -> None:
    home = Path(__file__).parents[2]
    shutil.copytree(home / "examples", tmp_path / "examples")
    blocks = re.findall(r"^```(sh)?\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    commands = [text for kind, text in blocks if kind == "sh"]
    (worker,) = [text.strip() for kind, text in blocks if not kind and "workers run" in text]
    # The other terminal, whose process is ended by its number.
    beside = str(Path(sys.executable).parent)
    started = f"{beside}/{worker} > worker.log 2>&1 &\ntrap 'kill $!; wait' EXIT\n"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "HEADWAY"))}
    mine = {
        "PATH": f"{beside}:{os.environ['PATH']}",
        "PYTHONPATH": str(home),
        "FLASK_APP": "wsgi:app",
        "HEADWAY_DATABASE_URL": f"sqlite:///{tmp_path}/catalog.sqlite",
    }
    script = "\n".join(["flask db upgrade", started, *commands])
    done = run_forking(["timeout", "300", "sh", "-ec", script], tmp_path, kept | mine)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Registered 2; 0 were registered already." in done.stdout
    assert len(list((tmp_path / "data").glob("acme.db.*.snapshot"))) == 1


def test_a_database_has_arguments_of_its_own_for_env_py(shell: Shell, data: Path) -> None:
    said = shell("projects", "change", "shop", "-x", "tenant={tenant}", code=2).stderr
    assert "{tenant}, which is not a placeholder" in said
    shell("projects", "change", "shop", "-x", "tenant={name}", "-x", "shard=1")
    place = ("--project", "shop", "--url", f"sqlite:///{data}/a.db")
    made = shell.json("databases", "register", *place, "-x", "tenant=acme", "-x", "flag")
    assert made["x"] == {"tenant": "acme", "flag": ""}
    assert "tenant" in shell("databases", "show", "a").stdout
    changed = shell.json("databases", "change", "a", "-x", "region=eu", "--unset-x", "tenant")
    assert changed["x"] == {"flag": "", "region": "eu"}
    lines = data / "list.csv"
    lines.write_text(f"name,url,x.tenant,label.tier\nb,sqlite:///{data}/b.db,{{schema}},gold\n")
    shell("databases", "import", "--project", "shop", str(lines))
    (row,) = listed(shell, "--search", "b.db")
    assert (row["x"], row["labels"]) == ({"tenant": "{schema}"}, {"tier": "gold"})
