"""Projects whose revisions branch and merge at random, and what Alembic does with them."""

import random
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from tests.migrator.scripts import write_env, write_revision

# Tells the order in which Alembic really ran.
ENV = """
import sqlalchemy as sa
from alembic import context
config = context.config
engine = sa.create_engine(config.get_main_option("sqlalchemy.url"), poolclass=sa.NullPool)
ran = config.attributes.get("ran", [])
with engine.connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True,
                      on_version_apply=lambda step, **_: ran.append(step.up_revision_id))
    with context.begin_transaction():
        context.run_migrations()
"""


def write_graph(folder: Path, dice: random.Random) -> list[str]:
    """Branches, merges, labels, several bases and dependencies."""
    write_env(folder, ENV)
    ids: list[str] = []
    for number in range(dice.randint(2, 9)):
        name = f"{dice.choice('abcdef')}{number}{dice.randrange(16**3):03x}"
        parents = dice.sample(ids, min(len(ids), dice.choice([0, 1, 1, 1, 1, 2])))
        others = [other for other in ids if other not in parents]
        depends = dice.sample(others, 1) if others and dice.random() < 0.2 else []
        label = (f"label{number}",) if not parents and dice.random() < 0.5 else None
        write_revision(
            folder,
            name,
            tuple(parents) if len(parents) > 1 else (parents or [None])[0],
            labels=label,
            depends_on=tuple(depends) or None,
        )
        ids.append(name)
    return ids


def a_target(ids: list[str], dice: random.Random) -> tuple[str, str]:
    """What a person may ask for, and some that nobody should."""
    some = dice.choice(ids)
    up = ["head", "heads", some, some[:3], "+1", "+2", f"{some}+1", "label0@head", "nope", "+99"]
    down = ["base", some, "-1", "-2", f"{some}-1", "label0@base", "nope", "-99"]
    if dice.random() < 0.6:
        return "upgrade", dice.choice(up)
    return "downgrade", dice.choice(down)


def alembics(folder: Path, url: str, ran: list[str]) -> Config:
    config = Config(attributes={"ran": ran})
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    config.set_main_option("sqlalchemy.url", url)
    return config


def versions(path: Path) -> list[str]:
    if not path.exists():
        return []
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        has = sa.inspect(connection).has_table("alembic_version")
        found = (
            list(connection.exec_driver_sql("SELECT * FROM alembic_version").scalars())
            if has
            else []
        )
    engine.dispose()
    return sorted(found)


def alembic_does(folder: Path, path: Path, direction: str, target: str) -> Any:
    ran: list[str] = []
    try:
        getattr(command, direction)(alembics(folder, f"sqlite:///{path}", ran), target)
    except CommandError as error:
        return type(error.__cause__)
    except (AssertionError, KeyError) as error:  # Alembic has no words for some
        return type(error)
    return tuple(ran)
