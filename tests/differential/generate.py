"""Projects that nobody wrote: the same number gives the same project."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.differential import environments, revisions
from tests.differential.environments import ALL, EnvPy
from tests.differential.revisions import ROWS, Revision

NAMES = ("ann", "bob", "cyd", "dot")
LOOKS = ("status", "plan", "preview", "risks", "check", "rehearse", "snapshot and restore")
"""Moves that change nothing: Headway's alone."""

OWNER = f"headway_fuzz_owner_{os.getpid()}"
"""The role that some env.py's work as: each process has one of its own."""
INI = """[alembic]
script_location = %(here)s/scripts
prepend_sys_path = .
path_separator = os
sqlalchemy.url = driver://user:pass@localhost/dbname

[loggers]
keys = root,sqlalchemy,alembic
[handlers]
keys = console
[formatters]
keys = generic
[logger_root]
level = WARNING
handlers = console
qualname =
[logger_sqlalchemy]
level = WARNING
handlers =
qualname = sqlalchemy.engine
[logger_alembic]
level = INFO
handlers =
qualname = alembic
[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = generic
[formatter_generic]
format = %(levelname)-5.5s [%(name)s] %(message)s
"""
SETTINGS = """import functools
import os

import sqlalchemy as sa

WORD = "of the settings"


class Settings:
    @property
    def url(self):
        return os.environ["APP_URL"]


def tenant():
    return os.environ["TENANT"]


KEPT = {}


@functools.lru_cache
def first_tenant():
    return KEPT.setdefault("tenant", tenant())


engine = sa.create_engine(os.environ["APP_URL"], poolclass=sa.NullPool)
"""


@dataclass
class Generated:
    """A project, and what is to be done with three databases of it."""

    name: str
    dialect: str
    env: EnvPy
    history: list[Revision]
    moves: list[list[list[Any]]]
    """For each database: name and argument of each move."""
    bare: bool = False
    """True if the databases are to be empty to begin with."""
    keeps: bool = False
    """True if nothing may be lost: where Alembic loses something, a refusal is the right answer."""

    @property
    def text(self) -> str:
        """All that a project's code says."""
        return "\n".join([self.env.text, *(one.text for one in self.history)])

    @property
    def pieces(self) -> list[str]:
        """What it is made of."""
        named = [piece for one in self.history for piece in one.pieces]
        return [one.name for one in self.env.pieces] + [one.name for one in named]

    @property
    def refusable(self) -> bool:
        """True if a refusal in words is a right answer."""
        mine = {piece.name for one in self.history for piece in one.pieces}
        lost = {"trigger", "application-defined function", "generated column", "fts"}
        rebuilt = any(name.startswith("batch") for name in mine) and lost & mine
        return bool(
            self.env.refusable
            or rebuilt
            or any(piece.refusable for one in self.history for piece in one.pieces)
        )

    @property
    def fails(self) -> bool:
        """True if its last revision cannot end well."""
        return any(piece.is_last for piece in self.history[-1].pieces)

    @property
    def reads_x(self) -> bool:
        """True if it asks for Alembic's -x arguments."""
        return "x_argument" in self.text

    def write(self, folder: Path) -> Path:
        """Its files; the path of its alembic.ini."""
        versions = folder / "scripts" / "versions"
        versions.mkdir(parents=True)
        (folder / "alembic.ini").write_text(INI)
        (folder / "settings.py").write_text(SETTINGS)
        text = self.env.text.replace("headway_fuzz_owner", OWNER)
        (folder / "scripts" / "env.py").write_text(text)
        (folder / "scripts" / "words.txt").write_text("of a file\n")
        (folder / "scripts" / "more.sql").write_text("CREATE TABLE %s (id INTEGER)")
        for one in self.history:
            (versions / f"{one.id}.py").write_text(one.text)
        return folder / "alembic.ini"


def generate(seed: int) -> Generated:
    """The project of this number. Most are for SQLite."""
    dice = random.Random(seed)
    dialect = dice.choices(ALL, [80, 12, 8])[0]
    env = environments.env_py(dice, dialect)
    history = revisions.history(dice, dialect, env.gives)
    return Generated(f"seed {seed}", dialect, env, history, _moves(dice, dialect, env, history))


def _moves(
    dice: random.Random, dialect: str, env: EnvPy, history: list[Revision]
) -> list[list[list[Any]]]:
    last = history[-1].id
    middle = history[dice.randrange(max(len(history) - 1, 1))].id
    rows: list[Any] = ["rows", rows_for(env)]
    found = [
        [["upgrade", middle], rows, ["upgrade", "heads"]],
        [["upgrade", middle], rows, *_looks(dice), ["upgrade", "heads"], ["status", ""]],
        [
            ["upgrade", middle],
            rows,
            ["upgrade", dice.choice(["heads", "head", last])],
            *_looks(dice, "check"),
            ["downgrade", dice.choice([middle, middle, "-1", "base"])],
            ["upgrade", "heads"],
        ],
    ]
    if dialect == "sqlite":
        for place in dice.sample(range(3), dice.choice([0, 0, 0, 1, 2])):
            found[place] = [["create", "heads"], ["status", ""], *_looks(dice, "check")]
    return found


def _looks(dice: random.Random, *more: str) -> list[list[Any]]:
    names = ["status", "plan", "preview", "risks", "rehearse", *more]
    return [[name, "heads"] for name in names if dice.random() < 0.25]


def rows_for(env: EnvPy) -> list[str]:
    """What the application writes between two releases."""
    # A batch rebuild with foreign keys switched on deletes the children: Alembic's own fault.
    rows = [row for row in ROWS if "note" not in row or "foreign_keys=ON" not in env.text]
    if any("search_path" in piece.name or "translate" in piece.name for piece in env.pieces):
        return [row.replace("INSERT INTO ", "INSERT INTO acme.") for row in rows]
    return rows


def alone() -> Iterator[Generated]:
    """Each piece on its own, on each kind of database, all else as plain as can be."""
    for dialect in ALL:
        for piece in [*_environments(), *_revisions()]:
            if dialect in piece.dialects:
                yield single(piece, dialect)


def _environments() -> list[environments.Piece]:
    some = environments
    groups = (some.URLS, some.ENGINES, some.LISTENERS, some.BEFORE, some.CONNECTING)
    more = (some.OPTIONS, some.PROCESS, some.PLAIN, [some.ASYNC, some.LOOPED, some.HANDED])
    return [piece for group in (*groups, *more) for piece in group]


def _revisions() -> list[revisions.Piece]:
    some = revisions
    groups = (some.SCHEMA, some.BATCH, some.READS, some.WRITES, some.FAILS)
    return [piece for group in groups for piece in group]


def single(piece: environments.Piece | revisions.Piece, dialect: str) -> Generated:
    """A project with one thing that is not plain."""
    some = environments
    plain = [some.URLS[0], some.ENGINES[0], some.PLAIN[0]]
    column = next(one for one in revisions.SCHEMA if one.name == "column")
    pieces: list[revisions.Piece] = [column]
    if isinstance(piece, environments.Piece):
        plain.append(piece)
        pieces += [one for one in revisions.SCHEMA if one.needs == piece.gives != ""]
    else:
        pieces = [piece]
        if piece.needs:
            plain.append(next(p for p in _environments() if p.gives == piece.needs))
    env = some.written(plain)
    raw = next(one for one in revisions.SCHEMA if one.name == "raw SQL")
    history = [
        revisions.script(1, None, []),
        revisions.script(2, "r1", pieces),
        *([] if pieces[-1].is_last else [revisions.script(3, "r2", [raw])]),
    ]
    return Generated(
        f"{dialect}: {piece.name}", dialect, env, history, _story(piece.name, dialect, env)
    )


def _story(name: str, dialect: str, env: EnvPy) -> list[list[list[Any]]]:
    """Recorded, replayed, made twice from a template; a file that it reads changes meanwhile."""
    rows: list[Any] = ["rows", rows_for(env)]
    found: list[list[list[Any]]] = [
        [["upgrade", "r1"], rows, ["upgrade", "heads"]],
        [["upgrade", "r1"], rows, ["plan", "heads"], ["upgrade", "heads"], ["status", ""]],
        [
            *([["create", "heads"]] if dialect == "sqlite" else [["upgrade", "r2"]]),
            ["downgrade", "r1"],
            rows,
            ["rehearse", "heads"],
            ["upgrade", "heads"],
            ["check", ""],
        ],
        *([[["create", "heads"]]] if dialect == "sqlite" else []),
    ]
    if name.startswith("file"):
        for number, moves in enumerate(found):
            moves.insert(0, ["file", ["scripts/words.txt", f"of a file {number}"]])
            text = f"CREATE TABLE %s (id INTEGER, c{number} INTEGER)"
            moves.insert(0, ["file", ["scripts/more.sql", text]])
    return found
