"""Databases: found, registered, created, changed, operated on by themselves, removed."""

from app.fleet.databases.change import change_database, change_many, pin_database, unpin_database
from app.fleet.databases.create import Creation, create_database, created, created_within
from app.fleet.databases.crud import (
    find,
    find_database,
    get_database,
    list_databases,
    register_database,
)
from app.fleet.databases.operate import (
    MOVES,
    RETIRED,
    Opened,
    below,
    open_database,
    plan_of,
    run_one,
)
from app.fleet.databases.register import Registered, foresee, register_many
from app.fleet.databases.remove import (
    REQUEST_SECONDS,
    drop_database,
    drop_of,
    retire_database,
    schema_of,
)
from app.fleet.databases.search import MOST, Order, count_databases, ids_of, sorted_databases
from app.fleet.databases.snapshots import list_snapshots

__all__ = [
    "MOST",
    "MOVES",
    "REQUEST_SECONDS",
    "RETIRED",
    "Creation",
    "Opened",
    "Order",
    "Registered",
    "below",
    "change_database",
    "change_many",
    "count_databases",
    "create_database",
    "created",
    "created_within",
    "drop_database",
    "drop_of",
    "find",
    "find_database",
    "foresee",
    "get_database",
    "ids_of",
    "list_databases",
    "list_snapshots",
    "open_database",
    "pin_database",
    "plan_of",
    "register_database",
    "register_many",
    "retire_database",
    "run_one",
    "schema_of",
    "sorted_databases",
    "unpin_database",
]
