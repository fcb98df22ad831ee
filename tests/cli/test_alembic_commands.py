"""Each command line of Alembic's tutorial, with `headway` in its place, beside Alembic itself."""

import io
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.config import CommandLine, Config
from click.testing import CliRunner, Result

from headway.cli.commands import VERBS, migrate
from tests.migrator.scripts import write_env, write_revision

# As in the tutorial: two revisions, then a branch, and what joins both; and env.py reads -x.
ENV = """
from alembic import context
from sqlalchemy import engine_from_config, pool
config = context.config
x = context.get_x_argument(as_dictionary=True)
section = config.get_section(config.config_ini_section, {})
def run(**where):
    context.configure(target_metadata=None, version_table=x.get("table", "alembic_version"), **where)
    with context.begin_transaction():
        context.run_migrations()
if context.is_offline_mode():
    run(url=section["sqlalchemy.url"], literal_binds=True)
else:
    with engine_from_config(section, poolclass=pool.NullPool).connect() as connection:
        run(connection=connection)
"""
INI = """
[alembic]
script_location = %(here)s/alembic
sqlalchemy.url = sqlite:///app.db
[linear]
script_location = %(here)s/linear
sqlalchemy.url = sqlite:///linear.db
[other]
script_location = %(here)s/alembic
sqlalchemy.url = sqlite:///other.db
"""
START = "ae1027a6acf"


def table(name: str) -> tuple[list[str], list[str]]:
    up = f'op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True))'
    return [up], [f'op.drop_table("{name}")']


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one would type `alembic`; its database is at the second revision."""
    folder = tmp_path_factory.mktemp("tutorial")
    scripts = write_env(folder / "alembic", ENV)
    write_revision(scripts, "1975ea83b712", None, *table("account"), message="create account")
    write_revision(scripts, START, "1975ea83b712", *table("address"), message="Add a column")
    write_revision(scripts, "d4c1ba3a4b5", START, *table("note"))
    write_revision(scripts, "e5d2cb4b5c6", "d4c1ba3a4b5", *table("mark"))
    write_revision(scripts, "27c6a30d7c24", "e5d2cb4b5c6", *table("cart"), labels=("shop",))
    write_revision(scripts, "38d9b1c2e3f4", "e5d2cb4b5c6", *table("log"))
    write_revision(scripts, "53fffde5ad5", ("27c6a30d7c24", "38d9b1c2e3f4"), message="merge")
    for number in range(1, 6):  # a relative history cannot pass a merge
        name, parent = f"{number}{number}ab", f"{number - 1}{number - 1}ab" if number > 1 else None
        linear = write_env(folder / "linear", ENV)
        write_revision(linear, name, parent, *table(f"t{number}"))
    (folder / "alembic.ini").write_text(INI)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        alembic(f"upgrade {START}")
        alembic("-n linear upgrade 44ab")
    return folder


@pytest.fixture
def here(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(template, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def alembic(line: str) -> str:
    """What Alembic prints, in this process."""
    command = CommandLine()
    options = command.parser.parse_args(shlex.split(line))
    out = io.StringIO()
    more = {"cmd_opts": options, "stdout": out, "output_buffer": out}
    ini = (options.config or ["alembic.ini"])[0]
    command.run_cmd(Config(ini, ini_section=options.name, **more), options)
    return out.getvalue()


def headway(line: str, code: int = 0) -> str:
    done: Result = CliRunner().invoke(migrate, shlex.split(line))
    assert done.exit_code == code, done.output
    return done.output


def contents(folder: Path) -> dict[str, list[str]]:
    """All that is in its databases."""
    found = {}
    for file in sorted(folder.glob("*.db")):
        with closing(sqlite3.connect(file)) as connection:
            found[file.name] = sorted(connection.iterdump())
    return found


@pytest.mark.parametrize(
    "line",
    [
        *("current", "current -v", "heads", "heads -v", "heads --resolve-dependencies"),
        *("branches", "branches -v", "history", "history --verbose", "history -v"),
        *("history -r1975ea:ae1027", "history -r1975ea83b712:", "history -r :ae10"),
        *(
            "-n linear history -r-3:current",
            "-n linear history -r-2:",
            "history -rcurrent:",
            "history --rev-range=current:heads",
        ),
        *("history -i", "history --indicate-current -v"),
        *("show ae10", "show head", "show current", "show shop@head"),
        *("-n other heads", "-c alembic.ini current", "-x table=versions2 current", "-q current"),
    ],
)
def test_what_shows_something_prints_the_same(line: str, here: Path) -> None:
    assert headway(line).rstrip() == alembic(line).rstrip()


@pytest.mark.parametrize(
    "line",
    [
        *("upgrade head", "upgrade heads", "upgrade +1", "upgrade +2", "upgrade ae10+2"),
        *(
            "upgrade 27c6",
            "upgrade shop@head",
            "upgrade 1975",
            "downgrade -1",
            "downgrade -2",
            "upgrade ae10+1",
        ),
        *("downgrade base", "downgrade 1975ea83b712", "downgrade 1975", "downgrade ae10-1"),
        *("stamp head", "stamp base", "stamp 1975", "stamp 27c6 38d9", "stamp heads"),
        *("stamp --purge 1975", "stamp 1975ea83b712 --purge", "ensure_version"),
        *("-n other upgrade head", "-c alembic.ini -n other upgrade +1", "-q upgrade head"),
        *("-x table=versions2 stamp head", "--raiseerr upgrade head"),
    ],
)
def test_what_moves_a_database_leaves_the_same(
    line: str, here: Path, template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headway(line)
    shutil.copytree(template, tmp_path / "theirs")
    monkeypatch.chdir(tmp_path / "theirs")
    before = contents(tmp_path / "theirs")
    alembic(line)
    assert contents(here) == contents(tmp_path / "theirs")
    assert contents(here) != before or line in ("upgrade 1975", "ensure_version")


@pytest.mark.parametrize(
    "line",
    [
        *("upgrade head --sql", "upgrade 1975:ae10 --sql", "upgrade ae1027a6acf:head --sql"),
        *("upgrade --sql 1975:+2", "downgrade ae10:1975 --sql", "downgrade --sql ae10:base"),
        *("stamp head --sql", "stamp --sql 1975:ae10"),
    ],
)
def test_sql_is_the_same_and_nothing_is_connected_to(line: str, here: Path) -> None:
    (here / "app.db").unlink()
    assert statements(headway(line)) == statements(alembic(line))
    assert not (here / "app.db").exists()


def statements(sql: str) -> list[str]:
    """Without the transaction: ours has one on SQLite, where Alembic has none."""
    lines = [line for line in sql.splitlines() if not line.startswith("--")]
    found = [" ".join(one.split()) for one in "\n".join(lines).split(";")]
    return [one for one in found if one not in ("", "BEGIN", "COMMIT")]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("downgrade -1 --sql", 2, "plan -1` shows the SQL"),
        ("upgrade 1975:ae10", 2, "A range is for --sql"),
        ("history -r1975", 2, "START:END"),
        ("stamp --purge --sql head", 2, "--purge needs the database"),
        ("stamp --purge nope", 1, "nope"),
        ("upgrade nope", 1, "The heads of"),
        ("downgrade +1", 2, "+1"),
        ("current --check-heads", 3, "`upgrade` brings it there"),
        ("-c nope.ini upgrade head", 2, "There is no nope.ini"),
        ("-n nope heads", 2, "names no script_location in [nope]"),
        ("upgrad head", 2, "upgrade"),
        ("check", 0, "No drift."),
        ("list_templates", 0, "init --template generic"),
        ("wait --timeout 0", 75, "behind"),
        ("rehearse head", 0, "went well"),
    ],
)
def test_what_differs_says_what_to_type(line: str, code: int, words: str, here: Path) -> None:
    before = contents(here)
    assert words in headway(line, code)
    assert contents(here) == before


def test_revisions_are_written_merged_and_edited(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = here / "alembic" / "versions"
    for line, parents in (
        ('revision -m "create account table"', "53fffde5ad5"),
        ("revision -m one --rev-id 1111 --head ae10 --splice --branch-label x", "ae1027a6acf"),
        ("revision --rev-id 2222 --head=27c6 --splice --depends-on 38d9", "27c6a30d7c24"),
    ):
        file = Path(headway(line).strip())
        assert file.parent == versions
        assert re.search(rf"^down_revision.*{parents}", file.read_text(), re.MULTILINE)
    merged = Path(headway("merge -m both --rev-id 3333 1111 2222").strip()).read_text()
    assert re.search(r"^down_revision.*'1111', '2222'", merged, re.MULTILINE)
    assert "Revises: 1111, 2222" in merged
    headway("merge heads -m all")
    assert headway("heads").count("(head)") == 1
    monkeypatch.setenv("EDITOR", "touch")
    headway("edit 3333")
    shown = headway("revision -m more --sql")
    assert "UPDATE alembic_version SET version_num" in shown


@pytest.mark.parametrize("line", ["upgrade head", "current", "heads", "revision -m x"])
def test_a_folder_without_a_project_says_where_to_begin(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "`headway init`" in headway(line, 2)
    assert list(tmp_path.iterdir()) == []


DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.mark.parametrize("verb", VERBS)
def test_each_command_is_there_and_documented(verb: str, here: Path) -> None:
    text = headway(f"{verb} --help")
    assert f"Usage: migrate {verb}" in text
    assert re.search(rf"`{verb}\b", DOCS.read_text())
    assert verb in headway("--help")


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "--help"),
        ({"_HEADWAY_COMPLETE": "bash_source"}, ""),
        ({"_HEADWAY_COMPLETE": "zsh_source"}, ""),
        ({"_HEADWAY_COMPLETE": "fish_source"}, ""),
        ({"_HEADWAY_COMPLETE": "bash_complete", "COMP_WORDS": "headway up", "COMP_CWORD": "1"}, ""),
        ({"_HEADWAY_COMPLETE": "zsh_complete", "COMP_WORDS": "headway up", "COMP_CWORD": "1"}, ""),
        ({"_HEADWAY_COMPLETE": "fish_complete", "COMP_WORDS": "headway up", "COMP_CWORD": "up"}, ""),
    ],
)  # fmt: skip
def test_help_and_completion_import_neither_sqlalchemy_nor_alembic(
    variables: dict[str, str], words: str
) -> None:
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(sorted({'alembic', 'sqlalchemy', 'rich'} & set(sys.modules))))\n"
        f"sys.argv = ['headway', *{words.split()!r}]\n"
        "from headway.cli import main\nmain()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr
    wanted = "upgrade" if "COMP_WORDS" in variables or not variables else "_HEADWAY_COMPLETE"
    assert wanted in done.stdout
