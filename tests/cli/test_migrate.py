"""`flask migrate`: what a person types, reads and gets as an exit code."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy.engine import URL

from headway import Project
from headway.cli.commands import migrate
from headway.dialects import dialect_of
from tests.cli.shell import headway
from tests.migrator.making import MODELS, run
from tests.migrator.scripts import write_env, write_project, write_revision

FLASK = Path(sys.executable).with_name("flask")


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    return write_project(tmp_path / "my scripts 100%", 4)


def said(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return result.output


def test_from_empty_to_head_and_back(scripts: Path, catalog_url: URL) -> None:
    assert "`upgrade` brings it to head" in said(headway("status", scripts, catalog_url))
    assert said(headway("status", scripts, catalog_url, "--check"), 3)
    told = said(headway("upgrade", scripts, catalog_url))
    assert "4 of 4  r004\nAt r004 after" in told
    assert "nothing to do" in said(headway("upgrade", scripts, catalog_url))
    assert said(headway("status", scripts, catalog_url, "--check"))
    assert "At r003" in said(headway("downgrade", scripts, catalog_url, "--", "-1"))
    assert "No drift." in said(headway("check", scripts, catalog_url))


def test_json_is_for_programs(scripts: Path, sqlite_url: URL) -> None:
    outcome = json.loads(said(headway("upgrade", scripts, sqlite_url, "r002", "--json")))
    assert outcome["applied"] == ["r001", "r002"]
    status = json.loads(said(headway("status", scripts, sqlite_url, "--json")))
    assert (status["position"], status["direction"]) == ("behind", "up")
    plan = json.loads(said(headway("plan", scripts, sqlite_url, "--json")))
    assert [step["revision"] for step in plan["steps"]] == ["r003", "r004"]
    assert "CREATE TABLE t4" in plan["sql"]


def test_a_plan_is_a_script_that_can_be_kept(scripts: Path, sqlite_url: URL) -> None:
    headway("upgrade", scripts, sqlite_url, "r002")
    told = said(headway("plan", scripts, sqlite_url))
    run(sqlite_url, *[s for s in statements(told) if s not in ("BEGIN", "COMMIT")])
    assert Project.load(scripts).at(sqlite_url).status().current == ("r004",)
    assert Project.load(scripts).at(sqlite_url).check().is_clean


def statements(sql: str) -> list[str]:
    kept = "\n".join(line for line in sql.splitlines() if not line.startswith("--"))
    return [part.strip() for part in kept.split(";") if part.strip()]


@pytest.mark.parametrize("kind", ["sqlite://", "postgresql://", "mysql://"])
def test_a_range_needs_no_database(scripts: Path, kind: str) -> None:
    told = said(headway("plan", scripts, None, "--url", kind, "r001:r002"))
    assert "CREATE TABLE t2" in told
    assert "CREATE TABLE t1" not in told
    assert "DROP TABLE t2" in said(headway("plan", scripts, None, "--url", kind, "r002:r001"))
    assert "CREATE TABLE t1" in said(headway("plan", scripts, None, "--url", kind, ":"))


def test_what_cannot_be_shown_is_rehearsed(tmp_path: Path, catalog_url: URL) -> None:
    scripts = write_env(tmp_path / "p")
    write_revision(scripts, "one", None, ['op.create_table("t", sa.Column("id", sa.Integer))'])
    write_revision(
        scripts,
        "two",
        "one",
        ["op.get_bind().execute(sa.text('SELECT 1')).scalar_one()", "op.drop_table('t')"],
    )
    headway("upgrade", scripts, catalog_url, "one")
    refused = said(headway("plan", scripts, catalog_url), 2)
    assert "`--rehearse` runs it on a copy" in refused
    told = said(headway("plan", scripts, catalog_url, "--rehearse"))
    assert "DROP TABLE t" in told
    assert "went well" in told
    assert Project.load(scripts).at(catalog_url).status().current == ("one",)


def test_create_makes_the_database(scripts: Path, catalog_url: URL) -> None:
    dialect_of(catalog_url).drop(catalog_url)
    assert "is made, at r004" in said(headway("create", scripts, catalog_url))
    assert "already exists" in said(headway("create", scripts, catalog_url), 1)


def test_stamp_and_adopt(scripts: Path, catalog_url: URL) -> None:
    headway("upgrade", scripts, catalog_url, "r002")
    run(catalog_url, "DROP TABLE alembic_version")
    assert "adopt" in said(headway("upgrade", scripts, catalog_url), 1)
    assert "is at r002" in said(headway("adopt", scripts, catalog_url))
    assert "At r004" in said(headway("stamp", scripts, catalog_url))


def test_drift_is_found_with_exit_code_3(scripts: Path, sqlite_url: URL) -> None:
    headway("upgrade", scripts, sqlite_url)
    run(sqlite_url, "ALTER TABLE t1 ADD COLUMN rogue INTEGER")
    assert "extra column t1.rogue" in said(headway("check", scripts, sqlite_url), 3)


def test_snapshot_and_restore(scripts: Path, sqlite_url: URL) -> None:
    headway("upgrade", scripts, sqlite_url, "r001")
    copy = said(headway("snapshot", scripts, sqlite_url)).strip()
    headway("upgrade", scripts, sqlite_url)
    assert "is at r001" in said(headway("restore", scripts, sqlite_url, copy))
    assert "no snapshot" in said(headway("restore", scripts, sqlite_url, "nope"), 1)


def test_a_torn_revision_is_refused_shown_and_repaired(tmp_path: Path, mariadb_url: URL) -> None:
    scripts = write_env(tmp_path / "p")
    path = write_revision(
        scripts, "one", None, ['op.create_table("t", sa.Column("id", sa.Integer))', "1 / 0"]
    )
    assert "`flask migrate repair`" in said(headway("upgrade", scripts, mariadb_url), 1)
    assert "`repair` fixes it" in said(headway("status", scripts, mariadb_url))
    shown = said(headway("repair", scripts, mariadb_url, "--dry-run"))
    assert "DROP TABLE `t`" in shown
    assert "Repaired." in said(headway("repair", scripts, mariadb_url, "--yes"))
    assert "nothing to repair" in said(headway("repair", scripts, mariadb_url))
    path.write_text(path.read_text().replace("1 / 0", "pass"))
    assert "At one" in said(headway("upgrade", scripts, mariadb_url))


def test_a_revision_is_written_where_the_project_really_is(tmp_path: Path) -> None:
    text = MODELS.format(more='sa.Column("nickname", sa.String(20))')
    scripts = write_env(tmp_path / "p", text)
    write_revision(
        scripts,
        "one",
        None,
        ['op.create_table("t", sa.Column("id", sa.Integer, primary_key=True))'],
    )
    written = Path(said(headway("revise", scripts, None, "-m", "add a nickname")).strip())
    assert written.parent == scripts / "versions"
    assert "sa.Column('nickname', sa.String(length=20)" in written.read_text()
    url = URL.create("sqlite", database=str(tmp_path / "x.db"))
    headway("upgrade", scripts, url)
    assert "No drift." in said(headway("check", scripts, url))
    assert "nothing to write" in said(headway("revise", scripts, None, "-m", "again"))


def test_heads_are_found_and_merged(scripts: Path, sqlite_url: URL) -> None:
    write_revision(scripts, "other", "r003")
    assert "2 heads" in said(headway("validate", scripts, None), 3)
    assert "ambiguous" in said(headway("upgrade", scripts, sqlite_url, "head"), 1)
    said(headway("merge", scripts, None, "-m", "join"))
    assert said(headway("validate", scripts, None))
    assert "(head)" in said(headway("history", scripts, None))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["status"], 2, "--scripts"),
        (["status", "--scripts", "nowhere", "--url", "sqlite://"], 78, "no script directory"),
        (["status", "--scripts", "SCRIPTS"], 2, "Which database?"),
        (["status", "--scripts", "SCRIPTS", "--url", "nonsense"], 2, "not a database URL"),
        (["status", "--scripts", "SCRIPTS", "--url", "oracle://x"], 2, "names oracle"),
        (["upgrade", "--scripts", "SCRIPTS", "--url", "sqlite:///x.db", "nope"], 1, "nope"),
        (
            ["upgrade", "--scripts", "SCRIPTS", "--url", "postgresql://u:hunter2@127.0.0.1:1/x"],
            75,
            "does not answer",
        ),
        (["upgrade", "--scripts", "SCRIPTS", "--url-file", "nope"], 2, "cannot be read"),
    ],
)
def test_a_mistake_is_one_sentence_and_a_code(
    scripts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    given = [str(scripts) if argument == "SCRIPTS" else argument for argument in arguments]
    told = said(CliRunner().invoke(migrate, given), code)
    assert words in told
    assert "hunter2" not in told
    assert "Traceback" not in told


def test_no_app_and_no_settings_are_needed(scripts: Path, tmp_path: Path) -> None:
    """As the image is used: scripts mounted, a URL in a mounted secret, nothing else."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    secret = place / "url"
    secret.write_text("sqlite:///customer.db\n")
    shutil.copytree(scripts, place / "mounted")
    env = {"PATH": os.environ["PATH"], "HEADWAY_MIGRATE_SCRIPTS": "mounted"}
    done = subprocess.run(
        [FLASK, "migrate", "upgrade", "--url-file", "url"],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "At r004" in done.stdout
    assert sorted(path.name for path in place.iterdir()) == ["customer.db", "mounted", "url"]


MODELS_FILE = """
import sqlalchemy as sa

metadata = sa.MetaData()
sa.Table("person", metadata, sa.Column("id", sa.Integer, primary_key=True))
"""


@pytest.mark.parametrize("place", ["models", "app.models"])
def test_a_schema_is_brought_to_the_models_of_this_folder_without_scripts(
    tmp_path: Path, place: str
) -> None:
    file = tmp_path / f"{place.replace('.', '/')}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(MODELS_FILE)
    env = {"PATH": os.environ["PATH"], "HEADWAY_MIGRATE_URL": "sqlite:///people.db"}

    def flask(command: str) -> str:
        done = subprocess.run(
            [FLASK, "migrate", *command.split()],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    assert flask(f"sync --models {place}:metadata") == "create table person\n"
    assert flask(f"sync --models {place}:metadata") == "The schema matches the models.\n"
    copy = flask("snapshot").strip()
    assert "is at base." in flask(f"restore {copy}")


def test_what_commands_answer_they_answer_as_json(scripts: Path, sqlite_url: URL) -> None:
    def told(command: str, *more: str, code: int = 0) -> dict[str, object]:
        return dict(json.loads(said(headway(command, scripts, url, "--json", *more), code)))

    url: URL | None = None
    found = told("validate")
    assert (found["found"], found["revisions"], found["heads"]) == ([], 4, ["r004"])
    url = sqlite_url
    address = str(sqlite_url)
    Path(str(sqlite_url.database)).unlink(missing_ok=True)
    assert told("create", "r003") == {"database": address, "current": ["r003"]}
    copy = str(told("snapshot")["snapshot"])
    assert Path(copy).is_file()
    assert told("restore", copy) == {"database": address, "current": ["r003"]}
    run(sqlite_url, "DROP TABLE alembic_version")
    assert told("adopt") == {"database": address, "current": ["r003"]}
    write_revision(scripts, "other", "r003")
    url = None
    assert "2 heads" in str(told("validate", code=3)["found"])


def test_one_revision_is_one(tmp_path: Path) -> None:
    assert said(headway("validate", write_project(tmp_path / "p", 1), None)).startswith(
        "1 revision, head r001."
    )
