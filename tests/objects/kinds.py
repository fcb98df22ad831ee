"""A kind of object, and a project that makes one and then works beside it."""

import os
import re
from dataclasses import dataclass, field
from textwrap import indent
from typing import Any

from tests.differential import environments
from tests.differential.generate import Generated
from tests.differential.revisions import Revision

SCRIPT = '''"""revision {id}"""

import sqlalchemy as sa
from alembic import op

revision = {id!r}
down_revision = {parent!r}
{head}

def upgrade():
{up}


def downgrade():
{down}
'''
MARK = f"m{os.getpid()}x"
"""Begins the revisions of this process: what it leaves on a server can be told."""
BESIDE = """op.create_table(
    "beside", sa.Column("id", sa.Integer, primary_key=True), sa.Column("t", sa.String(20)))
op.create_index("ix_beside_t", "beside", ["t"])"""
COLUMN = 'op.add_column("beside", sa.Column("c", sa.Integer, server_default="3"))'
NO_COLUMN = 'op.drop_column("beside", "c")'
BATCH = """with op.batch_alter_table("beside", recreate="always") as batch:
    batch.add_column(sa.Column("c", sa.Integer, server_default="3"))"""
NO_BATCH = """with op.batch_alter_table("beside") as batch:
    batch.drop_column("c")"""


@dataclass
class Kind:
    """A kind of object: how it is made, what is in it."""

    name: str
    make: list[str]
    rows: list[str] = field(default_factory=list)
    table: str = ""
    """A table of it that gets another column, by ALTER TABLE."""
    thorough: bool = False
    extension: str = ""
    """What PostgreSQL has to have for it."""

    def __str__(self) -> str:
        return self.name


def op_execute(statement: str) -> str:
    """The line of a script that runs a statement as it is."""
    escaped = re.sub(r"(?<![:\w]):(?=\w)", r"\:", statement)
    return f"op.execute({escaped!r})"


def scripts(*bodies: tuple[str, str], head: str = "") -> list[Revision]:
    """Revisions of these, one upon the other."""
    found: list[Revision] = []
    for number, (up, down) in enumerate(bodies, 1):
        parent = found[-1].id if found else None
        name = f"{MARK}{number}"
        more, less = indent(up, "    "), indent(down or "pass", "    ")
        text = SCRIPT.format(id=name, parent=parent, up=more, down=less, head=head)
        found.append(Revision(name, parent, [], text))
    return found


def project(kind: Kind, dialect: str) -> Generated:
    """Made in the first revision; the second and third work beside it."""
    made = "\n".join(map(op_execute, kind.make))
    lite = dialect == "sqlite"
    more, less = (BATCH, NO_BATCH) if lite else (COLUMN, NO_COLUMN)
    if kind.table:
        more += f'\nop.add_column("{kind.table}", sa.Column("extra", sa.Integer))'
        less += f'\nop.drop_column("{kind.table}", "extra")'
    history = scripts((made, ""), (BESIDE, 'op.drop_table("beside")'), (more, less))
    first, _, last = (one.id for one in history)
    beside: list[Any] = ["rows", ["INSERT INTO beside (id, t) VALUES (1, 'one')"]]
    unstamped: list[Any] = ["rows", ["DROP TABLE alembic_version"]]
    looks: list[list[Any]] = [[name, "heads"] for name in ("status", "plan", "preview", "risks")]
    restore = [["snapshot and restore", ["DROP TABLE beside"]]] if lite else []
    story = [
        *(["upgrade", first], ["rows", kind.rows], *looks, ["check", ""], ["rehearse", "heads"]),
        *(["upgrade", last], beside, ["check", ""], *restore),
        *(["downgrade", first], ["check", ""], ["upgrade", "heads"], ["check", ""]),
    ]
    # The number is that of the state of the first database which it is to be like.
    adopted = [
        *(["upgrade", first, 0], ["rows", kind.rows, 1], unstamped, ["adopt", first, 1]),
        *(["upgrade", "heads", 2], unstamped, ["adopt", last, 2], ["check", ""]),
    ]
    made_anew: list[list[Any]] = [["create", "heads"], ["check", ""], ["downgrade", first]]
    return _generated(kind, dialect, history, [story, adopted, made_anew])


def rebuilt(kind: Kind) -> Generated:
    """A batch operation rebuilds its table: SQLite's only way to most changes."""
    batch = f"""with op.batch_alter_table("{kind.table}", recreate="always") as batch:
    batch.add_column(sa.Column("extra", sa.Integer))"""
    made = "\n".join(map(op_execute, kind.make))
    history = scripts((made, ""), (batch, "pass"))
    moves: list[list[Any]] = [["upgrade", history[0].id], ["rows", kind.rows], ["upgrade", "heads"]]
    made_of = _generated(kind, "sqlite", history, [moves])
    made_of.keeps = True
    return made_of


def _generated(
    kind: Kind, dialect: str, history: list[Revision], moves: list[list[list[Any]]]
) -> Generated:
    plain = [environments.URLS[0], environments.ENGINES[0], environments.PLAIN[0]]
    env = environments.written(plain)
    return Generated(kind.name, dialect, env, history, moves, bare=True)
