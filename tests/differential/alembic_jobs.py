"""What plain Alembic makes of a project. Headway is not imported here."""

import argparse
import asyncio  # noqa: F401  # what jobs would import, once for all
import contextlib
import logging.config  # noqa: F401
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import aiosqlite  # noqa: F401
import psycopg  # noqa: F401
import pymysql  # noqa: F401
import sqlalchemy as sa
import sqlalchemy.ext.asyncio
import sqlalchemy.orm
from alembic import autogenerate, command, op  # noqa: F401
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext  # noqa: F401
from alembic.script import ScriptDirectory  # noqa: F401
from sqlalchemy.dialects import mysql, postgresql, sqlite  # noqa: F401

from tests.differential.dumps import dump, write

PLUGIN = {"headway", "headway.schema", "headway.schema.alembic_plugin"}
"""What Alembic loads by itself where Headway is installed; it compares, and runs nothing."""


def steps(
    ini: str,
    url: str,
    moves: list[list[Any]],
    environ: Mapping[str, str] | None = None,
    x: Mapping[str, str] | None = None,
    hand_over: bool = False,
    location: str = "",
) -> dict[str, Any]:
    """The dump after each move: `["upgrade", target]`, `["rows", [statements]]`.

    Each command has a process of its own, as on a command line. The first that fails is the last.
    """
    ours = {name for name in sys.modules if name.split(".")[0] == "headway"}
    assert ours <= PLUGIN, "Alembic alone is the reference"
    found: list[dict[str, Any]] = []
    for name, what in moves:
        if name in ("rows", "file"):
            write(url, what) if name == "rows" else (Path(ini).parent / what[0]).write_text(what[1])
            found.append({"dump": dump(url)})
            continue
        began = time.monotonic()
        failed = _in_a_process(lambda name=name, what=what: _command(
            ini, url, name, what, environ or {}, x or {}, hand_over, location
        ))  # fmt: skip
        seconds = round(time.monotonic() - began, 4)
        found.append({"dump": dump(url), "seconds": seconds})
        found[-1] |= {"failed": failed} if failed else {}
        if failed:
            break
    return {"moves": found}


def _command(
    ini: str,
    url: str,
    name: str,
    target: str,
    environ: Mapping[str, str],
    x: Mapping[str, str],
    hand_over: bool,
    location: str,
) -> None:
    os.chdir(Path(ini or location).parent)
    os.environ.update(environ)
    config = Config(ini or None)
    if location:
        config.set_main_option("script_location", location.replace("%", "%%"))
        config.set_main_option("path_separator", "os")
    if x:
        config.cmd_opts = argparse.Namespace(x=[f"{key}={value}" for key, value in x.items()])
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    with _connection(url, hand_over) as connection:
        if connection is not None:
            config.attributes["connection"] = connection
        getattr(command, name)(config, target)


@contextlib.contextmanager
def _connection(url: str, wanted: bool) -> Iterator[sa.Connection | None]:
    """A connection for an env.py that takes it from `config.attributes`, as programs do it."""
    if not wanted:
        yield None
        return
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        yield connection


def _in_a_process(work: Any) -> str:
    """What went wrong in a forked process, in words; "" if nothing."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            said = ""
        except BaseException as error:  # noqa: BLE001  # it is the answer
            said = f"{type(error).__name__}: {error}"[:2000]
        os.write(writes, said.encode()[:60000])
        os._exit(0)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    return said or (f"it ended with {status}" if status else "")
