"""A team's folder of scripts, and the same moves done by plain Alembic beside it."""

from pathlib import Path
from textwrap import dedent, indent

import psycopg
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import URL

from headway.project import Project
from headway.types import Outcome
from tests.migrator.reference import Move, alembic, dump, typed

REVISION = """\
'''{id}'''
import os
import sqlalchemy as sa
from alembic import context, op

revision = {id!r}
down_revision = {parents!r}
branch_labels = {labels!r}
depends_on = {depends_on!r}


def upgrade{arguments}:
{up}


def downgrade{arguments}:
{down}
"""

TABLE = "op.create_table({0!r}, sa.Column('id', sa.Integer, primary_key=True))"

# The shape that most env.py have, with places to say more.
ENV = """\
from alembic import context
from sqlalchemy import create_engine, engine_from_config, pool, text
import os, sys
config = context.config
{head}

def online():
    engine = {engine}
    with engine.connect() as connection:
{before}
        context.configure(connection=connection, {options})
        with context.begin_transaction():
            context.run_migrations({arguments})

if not context.is_offline_mode():
    online()
"""
FROM_CONFIG = (
    "engine_from_config(config.get_section(config.config_ini_section, {}), "
    "prefix='sqlalchemy.', poolclass=pool.NullPool)"
)
ELSEWHERE = "create_engine(os.environ['DATABASE_URL'])"


LISTENER = """
from sqlalchemy import event
from sqlalchemy.engine import Engine
def prepare(raw, record):
    with raw.cursor() as cursor:
        cursor.execute("SET search_path TO acme")
    raw.commit()
"""
LISTENING = """
def listening(engine, level="engine"):
    event.listen(engine if level == "engine" else engine.pool, "connect", prepare)
    return engine
"""
URL_OPTION = "config.get_main_option('sqlalchemy.url')"


def made(arguments: str, more: str = "") -> str:
    """An engine as env.py makes it, with these arguments."""
    return f"create_engine({URL_OPTION}, poolclass=pool.NullPool, {arguments}){more}"


def pg(url: URL, *statements: str) -> list[tuple[object, ...]]:
    """Run statements on a PostgreSQL database; the rows of the last."""
    info = f"host={url.host} port={url.port} user={url.username} dbname={url.database}"
    with psycopg.connect(info, autocommit=True) as own:
        for statement in statements:
            cursor = own.execute(statement)
        return cursor.fetchall() if cursor.description else []


class Team:
    """A team's folder: scripts, options and modules. And a database of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.scripts = root / "migrations"
        self.theirs = URL.create("sqlite", database=str(root.parent / f"{root.name}-theirs.db"))
        self.ours = URL.create("sqlite", database=str(root.parent / f"{root.name}-ours.db"))
        root.mkdir(parents=True)

    def init(self, template: str = "generic") -> "Team":
        config = Config(self.root / "alembic.ini", toml_file=self.root / "pyproject.toml")
        command.init(config, str(self.scripts), template=template)
        return self

    def env(
        self,
        *,
        head: str = "",
        engine: str = FROM_CONFIG,
        before: str = "pass",
        options: str = "",
        arguments: str = "",
    ) -> "Team":
        (self.scripts / "versions").mkdir(parents=True, exist_ok=True)
        body = indent(dedent(before), " " * 8)
        text = ENV.format(
            head=dedent(head), engine=engine, before=body, options=options, arguments=arguments
        )
        return self.write("migrations/env.py", text)

    def ini(self, *lines: str) -> "Team":
        first = ["[alembic]", "script_location = %(here)s/migrations"]
        return self.write("alembic.ini", "\n".join([*first, *lines]) + "\n")

    def write(self, path: str, text: str) -> "Team":
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text), encoding="utf-8")
        return self

    def revision(
        self,
        id: str,
        parents: str | tuple[str, ...] | None = None,
        up: str | None = None,
        down: str | None = None,
        *,
        labels: str | None = None,
        depends_on: str | None = None,
        arguments: str = "()",
        path: str = "migrations/versions/{id}.py",
    ) -> "Team":
        text = REVISION.format(
            id=id,
            parents=parents,
            labels=labels,
            depends_on=depends_on,
            arguments=arguments,
            up=indent(dedent(TABLE.format(f"t_{id}") if up is None else up), "    "),
            down=indent(dedent(f"op.drop_table('t_{id}')" if down is None else down), "    "),
        )
        return self.write(path.format(id=id), text)

    def two(self) -> "Team":
        return self.revision("a").revision("b", "a")

    def load(self) -> Project:
        return Project.load(self.scripts)

    def alembic(self, *moves: Move, url: URL | None = None, x: tuple[str, ...] = ()) -> None:
        theirs = url or self.theirs
        options = self.root / "alembic.ini"
        if not options.exists():
            options = self.root / "pyproject.toml"
        known = options.exists() and "script_location" in options.read_text()
        alembic(
            self.root,
            theirs,
            *moves,
            ini=options if options.exists() else "",
            location="" if known else self.scripts,
            x=x,
            environ={"DATABASE_URL": typed(theirs)},
        )

    def moved(self, *moves: Move, project: Project | None = None) -> Outcome:
        """Do the same with both, and hold the databases against each other."""
        database = (project or self.load()).at(self.ours)
        for name, target in moves or [("upgrade", "heads")]:
            outcome: Outcome = getattr(database, name)(target)
        self.alembic(*moves)
        assert dump(self.ours) == dump(self.theirs)
        return outcome
