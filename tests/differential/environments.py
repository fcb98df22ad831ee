"""Shapes of env.py, as pieces that go together: what projects really have there."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

ALL = ("sqlite", "postgresql", "mariadb")

TEMPLATE = """
import asyncio
import logging
import logging.config
import os
import pathlib
import sqlite3
import sys
import threading
import warnings

import sqlalchemy as sa
from alembic import context
from sqlalchemy import create_engine, engine_from_config, event, pool

{imports}
config = context.config
target_metadata = {metadata}

{prelude}


def url():
    {url}


{functions}


def make_engine():
    {engine}
    {listeners}
    return engine


def options():
    return dict(target_metadata=target_metadata{options})


def run_migrations_offline():
    context.configure(
        url=url(), literal_binds=True, dialect_opts={{"paramstyle": "named"}}, **options()
    )
    with context.begin_transaction():
        context.run_migrations()


def do_run(connection):
    {before}
    {run}


{online}


{main}
{postlude}
"""

RUN = """context.configure(connection=connection, **options())
    with context.begin_transaction():
        context.run_migrations()"""
ONLINE = """
def run_migrations_online():
    with make_engine(){execution}.connect(){connecting} as connection:
        do_run(connection)
"""
ONLINE_DISPOSED = """
def run_migrations_online():
    engine = make_engine(){execution}
    try:
        with engine.connect(){connecting} as connection:
            do_run(connection)
    finally:
        engine.dispose()
"""
ONLINE_ASYNC = """
async def run_async():
    engine = make_engine()
    async with engine.connect() as connection:
        await connection.run_sync(do_run)
    await engine.dispose()


def run_migrations_online():
    asyncio.run(run_async())
"""
ONLINE_LOOP = ONLINE_ASYNC.replace(
    "    asyncio.run(run_async())\n",
    """    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(run_async(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
""",
)
ONLINE_HANDED = """
def run_migrations_online():
    connection = config.attributes["connection"]
    do_run(connection)
"""
ONLINE_EITHER = """
def run_migrations_online():
    connectable = config.attributes.get("connection", None)
    if connectable is None:
        with make_engine().connect() as connection:
            do_run(connection)
    else:
        do_run(connectable)
"""
MAIN = """
if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
"""


@dataclass
class Piece:
    """Something that an env.py does."""

    name: str
    slots: dict[str, str] = field(default_factory=dict)
    """Text for the places of the template; what is joined is joined in the order chosen."""
    dialects: tuple[str, ...] = ALL
    refusable: bool = False
    """True if a refusal in words is a right answer; false where it has to work."""
    gives: str = ""
    """What revisions may count on."""
    config: dict[str, object] = field(default_factory=dict)
    """How it is to be run: `hand_over`, `driver`."""


def one(name: str, *dialects: str, refusable: bool = False, gives: str = "", **slots: str) -> Piece:
    config = {key: slots.pop(key) for key in ("hand_over", "driver") if key in slots}
    return Piece(name, slots, dialects or ALL, refusable, gives, dict(config))


URLS = [
    one("url: main option", url='return config.get_main_option("sqlalchemy.url")'),
    one(
        "url: section", url='return config.get_section(config.config_ini_section)["sqlalchemy.url"]'
    ),
    one("url: environ", url='return os.environ["APP_URL"]'),
    one("url: settings", imports="from settings import Settings", url="return Settings().url"),
]

ENGINES = [
    one(
        "engine: from config",
        engine="""section = config.get_section(config.config_ini_section, {})
    section["sqlalchemy.url"] = url()
    engine = engine_from_config(section, prefix="sqlalchemy.", poolclass=pool.NullPool)""",
    ),
    one("engine: create_engine", engine="engine = create_engine(url(), poolclass=pool.NullPool)"),
    one("engine: default pool", engine="engine = create_engine(url())"),
    one("engine: echo", engine="engine = create_engine(url(), pool_pre_ping=True)"),
    one(
        "engine: connect_args timeout", "sqlite",
        engine='engine = create_engine(url(), connect_args={"timeout": 7})',
    ),
    one(
        "engine: connect_args search_path", "postgresql", refusable=True,
        engine='engine = create_engine(url(), connect_args={"options": "-c search_path=acme"})',
    ),
    one(
        "engine: connect_args sql_mode", "mariadb", refusable=True,
        engine="""engine = create_engine(
        url(), connect_args={"init_command": "SET SESSION sql_mode='ANSI_QUOTES'"})""",
    ),
    one(
        "engine: creator", "sqlite", refusable=True,
        engine="""path = sa.make_url(url()).database
    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(path))""",
    ),
    one(
        "engine: creator with a function", "sqlite", refusable=True, gives="slug",
        engine="""def connect():
        dbapi = sqlite3.connect(sa.make_url(url()).database)
        dbapi.create_function("slug", 1, lambda text: str(text).lower(), deterministic=True)
        return dbapi
    engine = create_engine("sqlite://", creator=connect, poolclass=pool.NullPool)""",
    ),
    one(
        "engine: execution options translate", "postgresql", refusable=True,
        engine="""engine = create_engine(
        url(), execution_options={"schema_translate_map": {None: "acme"}})""",
    ),
    one(
        "engine: execution options of its own",
        engine='engine = create_engine(url(), execution_options={"tenant": "ann"})',
    ),
    one(
        "engine: application's", imports="from settings import engine as application_engine",
        engine="engine = application_engine",
    ),
]  # fmt: skip

LISTENERS = [
    one(
        "listener: pragma on this engine", "sqlite",
        listeners="""@event.listens_for(engine, "connect")
    def pragma(dbapi, record):
        cursor = dbapi.cursor()
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute("PRAGMA cache_size=-4000")
        cursor.close()""",
    ),
    one(
        "listener: function and collation", "sqlite", gives="slug",
        listeners="""@event.listens_for(engine, "connect")
    def functions(dbapi, record):
        dbapi.create_function("slug", 1, lambda text: str(text).lower(), deterministic=True)
        dbapi.create_collation("LOCALIZED", lambda one, two: (one > two) - (one < two))""",
    ),
    one(
        "listener: search_path on this engine", "postgresql", refusable=True,
        listeners="""@event.listens_for(engine, "connect")
    def there(dbapi, record):
        with dbapi.cursor() as cursor:
            cursor.execute("SET search_path TO acme")
        dbapi.commit()""",
    ),
    one(
        "listener: role on this engine", "postgresql", refusable=True,
        listeners="""@event.listens_for(engine, "connect")
    def owner(dbapi, record):
        with dbapi.cursor() as cursor:
            cursor.execute("SET ROLE headway_fuzz_owner")
        dbapi.commit()""",
    ),
    one(
        "listener: pool", "sqlite",
        listeners="""@event.listens_for(engine.pool, "checkout")
    def taken(dbapi, record, proxy):
        dbapi.execute("PRAGMA recursive_triggers=ON")""",
    ),
    one(
        "listener: statements of this engine",
        listeners="""@event.listens_for(engine, "before_cursor_execute", retval=True)
    def comment(connection, cursor, statement, parameters, context_, many):
        return statement, parameters""",
    ),
    one(
        "listener: begin immediate", "sqlite",
        listeners="""@event.listens_for(engine, "connect")
    def quiet(dbapi, record):
        dbapi.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")""",
    ),
    one(
        "listener: class Engine, pragma", "sqlite",
        prelude="""@event.listens_for(sa.Engine, "connect")
def pragma_of_all(dbapi, record):
    cursor = dbapi.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()""",
    ),
    one(
        "listener: class Engine, functions", "sqlite", gives="slug",
        prelude="""@event.listens_for(sa.Engine, "connect")
def function_of_all(dbapi, record):
    dbapi.create_function("slug", 1, lambda text: str(text).lower(), deterministic=True)""",
    ),
    one(
        "listener: class Engine, statements",
        prelude="""SENT = []


@event.listens_for(sa.Engine, "before_cursor_execute")
def count(connection, cursor, statement, parameters, context_, many):
    SENT.append(statement)""",
    ),
    one(
        "listener: class Pool",
        prelude="""@event.listens_for(pool.Pool, "checkin")
def back(dbapi, record):
    pass""",
    ),
    one(
        "listener: class Table",
        prelude="""@event.listens_for(sa.Table, "after_parent_attach")
def attached(table, metadata):
    table.info["project"] = True""",
    ),
    one(
        "listener: class Table adds a column", gives="column",
        prelude="""@event.listens_for(sa.Table, "before_create")
def noted(table, connection, **_):
    table.append_column(sa.Column("noted", sa.Integer), replace_existing=True)""",
    ),
]  # fmt: skip

BEFORE = [
    one(
        "before: SELECT",
        before='connection.execute(sa.text("SELECT 1")).scalar()\n    connection.commit()',
    ),
    one(
        "before: PRAGMA", "sqlite",
        before='connection.exec_driver_sql("PRAGMA foreign_keys=ON")\n    connection.commit()',
    ),
    one(
        "before: search_path", "postgresql",
        before="""connection.execute(sa.text('SET search_path TO "acme"'))
    connection.commit()
    connection.dialect.default_schema_name = "acme\"""",
    ),
    one(
        "before: role", "postgresql", refusable=True,
        before="""connection.execute(sa.text("SET ROLE headway_fuzz_owner"))
    connection.commit()""",
    ),
    one(
        "before: makes a schema", "postgresql",
        before="""connection.execute(sa.text("CREATE SCHEMA IF NOT EXISTS extra"))
    connection.commit()""",
    ),
    one(
        "before: own table",
        before="""connection.execute(sa.text("CREATE TABLE IF NOT EXISTS env_was_here (n INTEGER)"))
    connection.commit()""",
    ),
    one(
        "before: asks where it stands", imports="from alembic.runtime.migration import MigrationContext",
        before="""MigrationContext.configure(connection).get_current_heads()
    connection.rollback()""",
    ),
    one(
        "before: inspects",
        before="sa.inspect(connection).get_table_names()\n    connection.rollback()",
    ),
    one(
        "before: local function on the driver's connection", "sqlite", refusable=True, gives="slug",
        before="""connection.connection.driver_connection.create_function(
        "slug", 1, lambda text: str(text).lower(), deterministic=True)""",
    ),
    one(
        "before: configures twice",
        before="context.configure(connection=connection, **options())",
    ),
    one("before: asks a tag", before="context.get_tag_argument()"),
    one(
        "run: each schema", "postgresql",
        run="""for schema in ("public", "acme"):
        connection.execute(sa.text(f"SET search_path TO {schema}"))
        connection.commit()
        context.configure(
            connection=connection, version_table_schema=schema, **options())
        with context.begin_transaction():
            context.run_migrations()""",
    ),
    one(
        "run: without begin_transaction", refusable=True,
        run="""with connection.begin():
        context.configure(connection=connection, **options())
        context.run_migrations()""",
    ),
    one(
        "run: arguments",
        run="""context.configure(connection=connection, **options())
    with context.begin_transaction():
        context.run_migrations() if not context.is_offline_mode() else None""",
    ),
]  # fmt: skip

CONNECTING = [
    one(
        "connection: translate map", "postgresql", refusable=True,
        connecting='.execution_options(schema_translate_map={None: "acme"})',
    ),
    one("connection: autocommit", refusable=True,
        connecting='.execution_options(isolation_level="AUTOCOMMIT")'),
    one("connection: own option", connecting='.execution_options(tenant="ann")'),
    one("engine: options on a copy", execution='.execution_options(tenant="ann")'),
    one(
        "engine: translate map on a copy", "postgresql", refusable=True,
        execution='.execution_options(schema_translate_map={None: "acme"})',
    ),
]  # fmt: skip

OPTIONS = [
    one("option: render_as_batch", options=", render_as_batch=True"),
    one("option: transaction_per_migration", options=", transaction_per_migration=True"),
    one("option: version_table", options=', version_table="project_version"'),
    one("option: version_table_schema", "postgresql", options=', version_table_schema="acme"'),
    one("option: version_table_pk", options=", version_table_pk=False"),
    one("option: compare", options=", compare_type=True, compare_server_default=True"),
    one("option: include_schemas", "postgresql", options=", include_schemas=True"),
    one(
        "option: include_object", options=", include_object=include_object",
        functions="""def include_object(thing, name, kind, reflected, other):
    return not (kind == "table" and name == "hidden")""",
    ),
    one(
        "option: include_name", options=", include_name=include_name",
        functions="""def include_name(name, kind, parents):
    return not (kind == "table" and name == "hidden")""",
    ),
    one(
        "option: process_revision_directives",
        options=", process_revision_directives=directives",
        functions="""def directives(context_, revision, found):
    if found and found[0].upgrade_ops.is_empty():
        found[:] = []""",
    ),
    one(
        "option: on_version_apply", options=", on_version_apply=applied",
        functions="""def applied(ctx, step, heads, run_args, **_):
    if step.is_upgrade:
        ctx.connection.execute(
            sa.text("INSERT INTO log VALUES ('applied', :r)"), {"r": step.up_revision_id})""",
    ),
    one("option: user_module_prefix", options=', user_module_prefix="sa."'),
    one("option: x-argument", options=', tag=context.get_x_argument(as_dictionary=True)["tenant"]'),
]  # fmt: skip

PROCESS = [
    one("process: prints", prelude='print("env.py runs")', postlude='print("env.py is done")'),
    one(
        "process: fileConfig",
        prelude="""if config.config_file_name is not None:
    logging.config.fileConfig(config.config_file_name)""",
    ),
    one("process: basicConfig", prelude='logging.basicConfig(level="DEBUG", force=True)'),
    one(
        "process: loggers",
        prelude="""logging.getLogger("sqlalchemy").setLevel(logging.ERROR)
logging.getLogger("sqlalchemy.engine").addHandler(logging.NullHandler())
logging.disable(logging.INFO)""",
    ),
    one(
        "process: dictConfig",
        prelude="""logging.config.dictConfig({
    "version": 1, "handlers": {"of_project": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["of_project"], "level": "INFO"}})
assert any(isinstance(one, logging.StreamHandler) for one in logging.root.handlers)""",
    ),
    one(
        "process: warnings",
        prelude='warnings.simplefilter("error", DeprecationWarning)\nwarnings.filterwarnings("ignore", "of the project")',
    ),
    one(
        "process: a thread",
        prelude="""WORK = []
worker = threading.Thread(target=lambda: WORK.append(1))
worker.start()
worker.join()
assert WORK""",
    ),
    one(
        "process: a loop in a thread",
        prelude="""async def nothing():
    return 1


def in_a_thread():
    asyncio.run(nothing())


looped = threading.Thread(target=in_a_thread)
looped.start()
looped.join()""",
    ),
    one("process: an event loop", prelude="asyncio.run(asyncio.sleep(0))"),
    one("process: chdir", prelude="os.chdir(pathlib.Path(__file__).parent)"),
    one("process: sys.path", prelude="sys.path.insert(0, str(pathlib.Path(__file__).parent))"),
    one("process: environ", prelude='os.environ["SET_BY_ENV_PY"] = "yes"\nos.environ.setdefault("TZ", "UTC")'),
    one(
        "process: compiler", gives="blob",
        imports="from sqlalchemy.ext.compiler import compiles",
        prelude="""@compiles(sa.LargeBinary)
def blob(element, compiler, **_):
    return "VARBINARY(77)" if compiler.dialect.name == "mysql" else {
        "sqlite": "BLOB_OF_PROJECT", "postgresql": "bytea"}.get(compiler.dialect.name, "BLOB")""",
    ),
    one(
        "process: compiler of DDL", gives="",
        imports="from sqlalchemy.ext.compiler import compiles\nfrom sqlalchemy.schema import CreateTable",
        prelude="""@compiles(CreateTable)
def with_comment(element, compiler, **_):
    return compiler.visit_create_table(element).rstrip() + " "
""",
    ),
    one(
        "process: comparator", imports="from alembic.autogenerate import comparators",
        prelude="""@comparators.dispatch_for("schema")
def views(autogen_context, upgrade_ops, schemas):
    pass""",
    ),
    one(
        "process: operation", gives="make_mark",
        imports="from alembic.operations import MigrateOperation, Operations",
        prelude="""@Operations.register_operation("make_mark")
class MakeMark(MigrateOperation):
    def __init__(self, name):
        self.name = name

    @classmethod
    def make_mark(cls, operations, name):
        return operations.invoke(cls(name))


@Operations.implementation_for(MakeMark)
def really_make_mark(operations, operation):
    operations.execute(f"CREATE TABLE mark_{operation.name} (n INTEGER)")""",
    ),
    one(
        "process: naming convention",
        prelude="""import sqlalchemy.orm
sqlalchemy.orm.configure_mappers()""",
    ),
    one(
        "process: sqlite adapters", "sqlite",
        prelude="sqlite3.register_adapter(pathlib.PurePosixPath, str)",
    ),
    one(
        "process: asks for the command line",
        prelude="if config.cmd_opts is not None:\n    assert config.cmd_opts.cmd",
    ),
    one("process: random seed", prelude="import random\nrandom.seed(os.environ['TENANT'])"),
]  # fmt: skip

PLAIN = [
    one("online: plain", online=ONLINE),
    one("online: disposes", online=ONLINE_DISPOSED),
    one("online: either", online=ONLINE_EITHER),
]
ASYNC = one(
    "online: async", "sqlite", "postgresql",
    imports="from sqlalchemy.ext.asyncio import create_async_engine",
    engine="engine = create_async_engine(url(), poolclass=pool.NullPool)",
    online=ONLINE_ASYNC, driver="async",
)  # fmt: skip
LOOPED = one(
    "online: async in another thread", "sqlite", "postgresql", refusable=True,
    imports="from sqlalchemy.ext.asyncio import create_async_engine",
    engine="engine = create_async_engine(url(), poolclass=pool.NullPool)",
    online=ONLINE_LOOP, driver="async",
)  # fmt: skip
HANDED = one("online: connection only", online=ONLINE_HANDED, hand_over="yes")

INDENTED = ("before", "listeners")
JOINED = ("imports", "prelude", "functions", "options", "before", "listeners", "postlude")


@dataclass
class EnvPy:
    """An env.py, and what it is made of."""

    text: str
    pieces: list[Piece]

    @property
    def gives(self) -> set[str]:
        return {piece.gives for piece in self.pieces} - {""}

    @property
    def refusable(self) -> bool:
        return any(piece.refusable for piece in self.pieces)

    def setting(self, name: str) -> bool:
        return any(name in piece.config for piece in self.pieces)


class Refusable(Protocol):
    """What both kinds of pieces have."""

    @property
    def refusable(self) -> bool: ...


SomePiece = TypeVar("SomePiece", bound=Refusable)


def picked(dice: random.Random, pieces: Sequence[SomePiece]) -> SomePiece:
    """One of them; rarely one that may be refused, or there would be little to compare."""
    return dice.choices(pieces, [0.2 if piece.refusable else 1 for piece in pieces])[0]


def env_py(dice: random.Random, dialect: str) -> EnvPy:
    """An env.py for this kind of database."""

    def fitting(pieces: list[Piece]) -> list[Piece]:
        return [piece for piece in pieces if dialect in piece.dialects]

    def some(pieces: list[Piece], *weights: float) -> list[Piece]:
        count = dice.choices(range(len(weights)), weights)[0]
        found = [picked(dice, fitting(pieces)) for _ in range(count)]
        return list({piece.name: piece for piece in found}.values())

    way = dice.random()
    chosen = [dice.choice(URLS)]
    if way < 0.12 and dialect in ASYNC.dialects:
        chosen += [picked(dice, [ASYNC, LOOPED])]
    elif way < 0.2:
        chosen += [dice.choice(ENGINES[:2]), HANDED]
    else:
        engine = picked(dice, fitting(ENGINES)) if dice.random() < 0.6 else ENGINES[0]
        chosen += [engine, dice.choice(PLAIN)]
        chosen += some(CONNECTING, 0.85, 0.15) if "either" not in chosen[-1].name else []
        chosen += some(LISTENERS, 0.55, 0.35, 0.1)
        chosen += some(BEFORE, 0.7, 0.25, 0.05)
    chosen += some(OPTIONS, 0.5, 0.3, 0.2)
    chosen += some(PROCESS, 0.4, 0.35, 0.25)
    return written(chosen)


def written(chosen: list[Piece]) -> EnvPy:
    slots = dict.fromkeys(
        (*JOINED, "url", "engine", "online", "execution", "connecting", "run"), ""
    )
    for piece in chosen:
        for name, text in piece.slots.items():
            if name in JOINED and slots[name]:
                joint = "" if name == "options" else "\n    " if name in INDENTED else "\n"
                slots[name] += joint + text
            else:
                slots[name] = text
    slots["online"] = slots["online"].replace("{execution}", slots.pop("execution"))
    slots["online"] = slots["online"].replace("{connecting}", slots.pop("connecting"))
    text = TEMPLATE.format(
        metadata="None",
        main=MAIN,
        **{name: text for name, text in slots.items() if name not in ("before", "run")},
        run=slots["run"] or RUN,
        before=slots["before"] or "pass",
    )
    return EnvPy(text, chosen)
