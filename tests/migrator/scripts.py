"""Script directories, written as a team would have them."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import alembic

GENERIC = Path(alembic.__file__).parent / "templates" / "generic"

REVISION = '''"""{message}"""

from alembic import op
import sqlalchemy as sa

revision = {id!r}
down_revision = {parents!r}
branch_labels = {labels!r}
depends_on = {depends_on!r}


def upgrade():
    {up}


def downgrade():
    {down}
'''


def write_env(folder: Path, text: str | None = None) -> Path:
    """A script directory with Alembic's own env.py, or another."""
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    shutil.copy(GENERIC / "script.py.mako", folder)
    (folder / "env.py").write_text(text or (GENERIC / "env.py").read_text())
    return folder


def write_revision(
    folder: Path,
    id: str,
    parents: str | tuple[str, ...] | None,
    up: Sequence[str] = ("pass",),
    down: Sequence[str] = ("pass",),
    *,
    labels: tuple[str, ...] | None = None,
    depends_on: tuple[str, ...] | None = None,
    message: str = "",
    head: str = "",
) -> Path:
    """A revision file of a few lines."""
    path = folder / "versions" / f"{id}.py"
    text = REVISION.format(
        id=id,
        parents=parents,
        labels=labels,
        depends_on=depends_on,
        up="\n    ".join(up),
        down="\n    ".join(down),
        message=message or f"revision {id}",
    )
    path.write_text(text + head)
    return path


def write_project(folder: Path, revisions: int) -> Path:
    """Tables, an index and a column on the table before, `r001` to `r<revisions>`."""
    write_env(folder)
    for number in range(1, revisions + 1):
        name, before = f"t{number}", f"t{number - 1}"
        up = [
            f'op.create_table("{name}", sa.Column("id", sa.Integer, primary_key=True), '
            f'sa.Column("name", sa.String(50), nullable=False))',
            f'op.create_index("ix_{name}_name", "{name}", ["name"])',
        ]
        down = [f'op.drop_table("{name}")']
        if number > 1:
            up.append(f'op.add_column("{before}", sa.Column("extra", sa.Integer))')
            down.insert(0, f'op.drop_column("{before}", "extra")')
        parent = f"r{number - 1:03}" if number > 1 else None
        write_revision(folder, f"r{number:03}", parent, up, down)
    return folder
