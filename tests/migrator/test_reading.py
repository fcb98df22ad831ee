"""Which files count, and what they say: what Alembic reads, without importing where that is sure."""

import os
import random
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import to_tuple

from headway import Project, errors
from headway.scripts import header
from tests.migrator.scripts import write_env

BODY = "\ndef upgrade():\n    pass\n\ndef downgrade():\n    pass\n"


def plain(name: str, parent: str | None = None, **more: object) -> str:
    lines = [f"revision = {name!r}", f"down_revision = {parent!r}"]
    return "\n".join(lines + [f"{key} = {value!r}" for key, value in more.items()]) + "\n" + BODY


# What stands in a file that is revision `b`, on `a`. One line each way of saying so, or of
# seeming to say something else.
HEADERS = {
    "plain": 'revision = "b"\ndown_revision = "a"',
    "annotated": 'from typing import Optional\nrevision: str = "b"\ndown_revision: Optional[str] = "a"',
    "annotated with a comment": 'down_revision: str # = None\nrevision = "b"\ndown_revision = "a"',
    "windows": 'revision = "b"\r\ndown_revision = "a"\r\n',
    "old mac": 'revision = "b"\rdown_revision = "a"\r',
    "several lines": 'revision = "b"\ndown_revision = (\n    "a",  # the first\n)',
    "a list": 'revision = "b"\ndown_revision = ["a"]',
    "a comment with a bracket": 'revision = "b"\ndown_revision = ("a",  # not ("x")\n)',
    "together": 'revision, down_revision = "b", "a"',
    "chained": 'other = revision = "b"\ndown_revision = "a"',
    "semicolon": 'revision = "b"; down_revision = "a"',
    "computed": 'revision = "".join(["b"])\ndown_revision = "a"',
    "f-string": 'x = "b"\nrevision = f"{x}"\ndown_revision = "a"',
    "named by another": 'FIRST = "a"\nrevision = "b"\ndown_revision = FIRST',
    "put together": 'revision = "b" ""\ndown_revision = "a"',
    "escaped": 'revision = "\\x62"\ndown_revision = "a"',
    "raw": 'revision = r"b"\ndown_revision = u"a"',
    "in a docstring before": '"""\nrevision = "wrong"\ndown_revision = None\n"""\n'
    'revision = "b"\ndown_revision = "a"',
    "in a docstring after": 'revision = "b"\ndown_revision = "a"\n"""\nrevision = "wrong"\n"""',
    "only its parent in a docstring": '"""\ndown_revision = None\n"""\nrevision = "b"\n'
    'down_revision: str = "a"',
    "in a comment": '# revision = "wrong"\nrevision = "b"\ndown_revision = "a"',
    "in brackets": 'x = dict(\nrevision = "wrong"\n)\nrevision = "b"\ndown_revision = "a"',
    "a continued line": 'x = 1\nif x: \\\nrevision = "b"\ndown_revision = "a"',
    "a continued line that is not run": 'revision = "b"\ndown_revision = "a"\nif 0: \\\n'
    'revision = "wrong"',
    "assigned again": 'revision = "wrong"\ndown_revision = "a"\nrevision = "b"',
    "assigned again within": 'revision = "wrong"\ndown_revision = "a"\nif True:\n    revision = "b"',
    "not assigned within": 'revision = "b"\ndown_revision = "a"\nif False:\n    revision = "wrong"',
    "by a loop": 'revision = "wrong"\ndown_revision = "a"\nfor revision in ["x", "b"]:\n    pass',
    "by globals": 'revision = "wrong"\ndown_revision = "a"\nglobals()["revision"] = "b"',
    "by an import": 'revision = "wrong"\ndown_revision = "a"\nfrom string import digits as revision\n'
    'revision = "b"',
    "in a class": 'class X:\n    revision = "wrong"\nrevision = "b"\ndown_revision = "a"',
    "in a function": 'revision = "b"\ndown_revision = "a"\ndef f():\n    revision = "wrong"',
    "an attribute": 'class X: pass\nX.revision = 1\nrevision = "b"\ndown_revision = "a"',
    "compared": 'revision = "b"\ndown_revision = "a"\nassert revision == "b"',
    "a quote in a comment": '# don\'t\nrevision = "b"\ndown_revision = "a"  # it\'s',
    "quotes within quotes": 'x = "it\'s"\ny = \'"""\'\nrevision = "b"\ndown_revision = "a"',
    "a mark of bytes": '\ufeffrevision = "b"\ndown_revision = "a"',
    "a form feed": '\frevision = "b"\ndown_revision = "a"',
    "only a label": 'revision = "b"\ndown_revision = "a"\nbranch_labels = ("blue", "sky")',
    "a label as it is": 'revision = "b"\ndown_revision = "a"\nbranch_labels = "blue"',
    "depends": 'revision = "b"\ndown_revision = None\ndepends_on = "a"',
    "depends on a label": 'revision = "b"\ndown_revision = None\ndepends_on = ("first",)',
    "depends on part of an id": 'revision = "b"\ndown_revision = None\ndepends_on = "fir"',
    "stands on a label": 'revision = "b"\ndown_revision = "first"',
    "no base": 'revision = "b"\ndown_revision = ()',
    "an empty parent": 'revision = "b"\ndown_revision = ""',
    "itself": 'revision = "b"\ndown_revision = "b"',
    "a number": "revision = 7\ndown_revision = None",
    "a tuple": 'revision = ("b",)\ndown_revision = "a"',
    "reserved": 'revision = "b-1"\ndown_revision = "a"',
    "no parent said": 'revision = "b"',
    "no id said": 'down_revision = "a"',
    "nothing": "x = 1",
    "broken": 'revision = "b"; down_revision = (',
    "raises": 'revision, down_revision = "b", "a"\nraise ValueError("no")',
    "ends": 'revision, down_revision = "b", "a"\nraise SystemExit(3)',
    "a hole": 'revision = "b"\ndown_revision = "lost"',
    "a taken label": 'revision = "b"\ndown_revision = "a"\nbranch_labels = "first"',
    "a label like an id": 'revision = "b"\ndown_revision = "a"\nbranch_labels = "a"',
}


def alembics(folder: Path, **options: str) -> Any:
    """What Alembic reads there, or the error it ends in."""
    config = Config()
    for name, value in {"script_location": str(folder), "path_separator": "os", **options}.items():
        config.set_main_option(name, value)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            directory = ScriptDirectory.from_config(config)
            found = list(directory.walk_revisions())
            return told(found, directory.get_heads())
    except (Exception, SystemExit) as error:  # noqa: BLE001  # it has many
        return error


def told(found: Any, heads: Any) -> Any:
    revisions = {
        one.revision: (
            set(one._versioned_down_revisions),
            set(one._resolved_dependencies),
            set(one._orig_branch_labels or ()),
        )
        for one in found
    }
    return revisions, sorted(heads)


def headways(folder: Path, **options: str) -> Any:
    if options:
        lines = "\n".join(f"{name} = {value}" for name, value in options.items())
        ini = f"[alembic]\nscript_location = %(here)s\npath_separator = os\n{lines}\n"
        (folder / "alembic.ini").write_text(ini)
    try:
        project = Project.load(folder)
    except errors.ScriptsUnreadable as error:
        return error
    revisions = {
        one.id: (set(one.parents), set(one.depends_on), set(one.labels))
        for one in project.scripts.by_id.values()
    }
    return revisions, sorted(project.heads)


def is_same(folder: Path, **options: str) -> Any:
    """What both read; where one refuses, so does the other, and ours in words."""
    ours, theirs = headways(folder, **options), alembics(folder, **options)
    if isinstance(theirs, BaseException):
        assert isinstance(ours, errors.ScriptsUnreadable), (theirs, ours)
        assert len(str(ours)) > 20
        return None
    assert ours == theirs
    return ours[0]


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_says_what_running_it_says(name: str, tmp_path: Path) -> None:
    write_env(tmp_path)
    (tmp_path / "versions" / "a.py").write_text(plain("a", branch_labels="first"))
    text = HEADERS[name]
    (tmp_path / "versions" / "b.py").write_bytes((text + "\n" + BODY).encode())
    is_same(tmp_path)


@pytest.mark.parametrize("seed", range(6))
def test_pieces_in_any_order_say_what_running_them_says(seed: int, tmp_path: Path) -> None:
    """Files put together of what is plain and what is odd; most of them run."""
    dice = random.Random(seed)
    pieces = [
        'revision = "b"', "revision = 'c'", 'down_revision = "a"', "down_revision = None",
        '"""\nrevision = "d"\n"""', "'''\ndown_revision = 'x'\n'''", "# revision = 'e'",
        'depends_on = "a"', "depends_on = None", 'x = """', '"""', "x = {", "}", "x = (", ")",
        "if 1:", "    revision = 'f'", "    pass", "x = 'it\\'s' # \"", "import os as _os",
        "def revised(revision=1): pass", "branch_labels = ('blue',)", "x = f'{1!r:>{10}}'",
        "revision_id = 'g'", "del revision", "x = 'a' \\", "'b'", 'x = r"\\"', "for x in 'ab':",
    ]  # fmt: skip
    read = 0
    for number in range(300):
        lines = dice.choices(pieces, k=dice.randint(1, 5))
        for line in ('revision = "b"', 'down_revision = "a"'):
            lines.insert(dice.randint(0, len(lines)), line)
        source = "\n".join(lines) + "\n"
        found = header.read(source.encode())
        ran: dict[str, Any] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile(source, str(number), "exec"), ran)  # that is the question
        except Exception:  # noqa: BLE001  # Alembic does not get this far either
            continue
        if found:
            read += 1
            assert (found.id, found.parents, found.depends_on, found.labels) == (
                ran["revision"],
                to_tuple(ran["down_revision"], default=()),
                to_tuple(ran.get("depends_on"), default=()),
                to_tuple(ran.get("branch_labels"), default=()),
            ), source
    assert read > 10


def test_a_plain_header_is_not_run(tmp_path: Path) -> None:
    write_env(tmp_path)
    (tmp_path / "versions" / "a.py").write_text(plain("a") + "raise SystemExit\n")
    assert Project.load(tmp_path).heads == ("a",)


def test_an_encoding_is_minded(tmp_path: Path) -> None:
    write_env(tmp_path)
    cookie = "# -*- coding: latin-1 -*-\n"
    (tmp_path / "versions" / "a.py").write_bytes((cookie + plain("é")).encode("latin-1"))
    (tmp_path / "versions" / "b.py").write_bytes(plain("b", "é").encode())
    assert is_same(tmp_path)


# --- which files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *("b.py", ".b.py", "#b.py", "b.py~", ".#b.py", "__init__.py", "__init__b.py", "b.pyc"),
        *("b.PY", "b c.py", "b.txt", "env.py", "b.py.orig", "_.py", "sub/b.py", "é.py"),
        *("__pycache__/b.py", "sub/__pycache__/b.py", "sub.py/b.py"),
    ],
)
@pytest.mark.parametrize("recursive", ["false", "true"])
def test_the_files_that_count(name: str, recursive: str, tmp_path: Path) -> None:
    write_env(tmp_path)
    (tmp_path / "versions" / "a.py").write_text(plain("a"))
    file = tmp_path / "versions" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(plain("b", "a"))
    is_same(tmp_path, recursive_version_locations=recursive)


def links(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "b.py").write_text(plain("b", "a"))
    versions = folder / "versions"
    (versions / "b.py").symlink_to(outside / "b.py")
    (versions / "again.py").symlink_to(outside / "b.py")
    (versions / "b.link").symlink_to(outside / "b.py")


def lock_of_an_editor(folder: Path) -> None:
    (folder / "versions" / ".#a.py").symlink_to("me@here.123:456")


def link_to_nothing(folder: Path) -> None:
    (folder / "versions" / "gone.py").symlink_to("nowhere.py")


def linked_folder(folder: Path) -> None:
    outside = folder.parent / "outside"
    outside.mkdir()
    (outside / "b.py").write_text(plain("b", "a"))
    (folder / "versions" / "sub").symlink_to(outside)


def legacy(folder: Path) -> None:
    (folder / "versions" / "beef12.py").write_text("down_revision = 'a'\n" + BODY)


@pytest.mark.parametrize(
    "arrange", [links, lock_of_an_editor, link_to_nothing, linked_folder, legacy]
)
@pytest.mark.parametrize("recursive", ["false", "true"])
def test_links_count_once(arrange: Callable[[Path], None], recursive: str, tmp_path: Path) -> None:
    folder = write_env(tmp_path / "p")
    (folder / "versions" / "a.py").write_text(plain("a"))
    arrange(folder)
    is_same(folder, recursive_version_locations=recursive)


def test_folders_that_are_missing_or_named_twice(tmp_path: Path) -> None:
    folder = write_env(tmp_path / "p")
    (folder / "versions" / "a.py").write_text(plain("a"))
    (tmp_path / "link").symlink_to(folder / "versions")
    places = [folder / "versions", tmp_path / "later", folder / "versions", tmp_path / "link"]
    found = is_same(folder, version_locations=os.pathsep.join(map(str, places)))
    assert found.keys() == {"a"}


def test_a_folder_that_comes_later_counts_then(tmp_path: Path, sqlite_url: Any) -> None:
    folder = write_env(tmp_path / "p")
    (folder / "versions" / "a.py").write_text(plain("a"))
    locations = f"%(here)s/versions{os.pathsep}%(here)s/more"
    assert headways(folder, version_locations=locations)[1] == ["a"]
    before = Project.shared(str(folder))
    assert before.at(sqlite_url).upgrade().after == ("a",)
    (folder / "more").mkdir()
    (folder / "more" / "b.py").write_text(plain("b", "a"))
    assert Project.shared(str(folder)).at(sqlite_url).upgrade().after == ("b",)


def test_a_file_of_a_folder_below_that_changed_is_noticed(tmp_path: Path) -> None:
    folder = write_env(tmp_path / "p")
    (folder / "versions" / "sub" / "deep").mkdir(parents=True)
    (folder / "versions" / "a.py").write_text(plain("a"))
    assert headways(folder, recursive_version_locations="true")[1] == ["a"]
    assert Project.shared(str(folder)).heads == ("a",)
    (folder / "versions" / "sub" / "deep" / "b.py").write_text(plain("b", "a"))
    assert Project.shared(str(folder)).heads == ("b",)


def test_revisions_in_a_circle_are_refused(tmp_path: Path) -> None:
    write_env(tmp_path)
    for name, parent in (("a", None), ("b", "d"), ("c", "b"), ("d", "c")):
        (tmp_path / "versions" / f"{name}.py").write_text(plain(name, parent))
    is_same(tmp_path)
    with pytest.raises(errors.ScriptsUnreadable, match="a cycle"):
        Project.load(tmp_path)


def test_two_files_of_one_id_are_refused(tmp_path: Path) -> None:
    """Alembic warns, and its heads and steps contradict each other from then on."""
    write_env(tmp_path)
    for name in ("a", "b"):
        (tmp_path / "versions" / f"{name}.py").write_text(plain("same"))
    with pytest.raises(errors.ScriptsUnreadable, match="both have the revision id same"):
        Project.load(tmp_path)


def test_what_has_to_be_run_finds_the_modules_of_its_project(tmp_path: Path) -> None:
    folder = write_env(tmp_path / "p")
    (tmp_path / "our_ids.py").write_text('LATEST = "b"\n')
    (folder / "versions" / "a.py").write_text(plain("a"))
    text = "from our_ids import LATEST\nrevision = LATEST\ndown_revision = 'a'\n" + BODY
    (folder / "versions" / "b.py").write_text(text)
    before = set(sys.modules)
    assert Project.load(folder).heads == ("b",)
    assert "our_ids" not in set(sys.modules) - before


def test_compiled_revisions_beside_their_sources(tmp_path: Path) -> None:
    folder = write_env(tmp_path / "p")
    for name, parent in (("a", None), ("b", "a")):
        (folder / "versions" / f"{name}.py").write_text(plain(name, parent))
    command = [sys.executable, "-m", "compileall", "-q", "-b", str(folder / "versions")]
    subprocess.run(command, check=True)
    (folder / "versions" / "b.py").unlink()
    assert is_same(folder, sourceless="true").keys() == {"a", "b"}
    assert is_same(folder, sourceless="false").keys() == {"a"}


# --- where env.py says that they are ------------------------------------------------------------

CHOOSES = """
    import os
    from alembic import context
    from sqlalchemy import create_engine, pool

    url = context.config.get_main_option("sqlalchemy.url")
    kind = url.partition(":")[0].partition("+")[0]
    here = os.path.dirname(__file__)
    context.script.version_locations = [os.path.join(here, "versions", kind)]
    with create_engine(url, poolclass=pool.NullPool).connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""


def test_each_kind_of_database_has_the_folder_that_env_py_says(
    tmp_path: Path, sqlite_url: Any, postgresql_url: Any
) -> None:
    folder = write_env(tmp_path / "p", textwrap.dedent(CHOOSES))
    for kind in ("sqlite", "postgresql"):
        (folder / "versions" / kind).mkdir()
        text = plain(f"{kind}1").replace(
            "pass", f"op.execute('CREATE TABLE of_{kind} (id INT)')", 1
        )
        file = folder / "versions" / kind / "a.py"
        file.write_text("from alembic import op\n" + text)
    project = Project.load(folder)
    assert project.heads == ("sqlite1",)
    for url, kind in ((postgresql_url, "postgresql"), (sqlite_url, "sqlite")):
        database = project.at(url)
        assert database.project.heads == (f"{kind}1",)
        assert database.upgrade().after == (f"{kind}1",)
        assert database.status().position == "at_head"
        assert database.check().is_clean
        assert database.downgrade("base").after == ()
    elsewhere = project.at(postgresql_url).project.__reduce__()
    revive: Any = elsewhere[0]
    assert revive(*elsewhere[1]).heads == ("postgresql1",)
