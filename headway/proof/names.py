"""Names that a revision's compiled code refers to: imports, variables, attributes.

A variable is read without a call that could be watched. Only the compiled code shows which
variables are read.
"""

import builtins
import dis
import enum
import logging
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

from sqlalchemy.sql.visitors import Visitable

LIBRARIES = ("alembic", "sqlalchemy", "mako")
SAFE = {
    *("__future__", "abc", "base64", "binascii", "builtins", "codecs", "collections", "copy"),
    *("collections.abc", "contextlib", "csv", "dataclasses", "datetime", "decimal", "enum"),
    *("fractions", "functools", "hashlib", "html", "importlib.resources", "io", "itertools"),
    *("json", "keyword", "logging", "math", "numbers", "operator", "os", "pathlib", "posixpath"),
    *("pprint", "re", "string", "struct", "textwrap", "types", "typing", "typing_extensions"),
    *("unicodedata", "urllib.parse", "uuid", "warnings", "zlib"),
}
"""Modules whose results depend on their arguments only, or on a call that is watched."""

SURROUNDINGS = {
    *("environ", "environb", "getenv", "argv", "cursor", "raw_connection", "dbapi_connection"),
    *("driver_connection", "executescript", "create_engine", "create_async_engine", "FileIO"),
    *("engine_from_config", "fdopen", "__globals__", "__builtins__", "__subclasses__", "_exec"),
}
"""Attributes that lead out of a revision, whatever object has them."""
CONNECTION = {
    *("as_sql", "bind", "connection", "engine", "environment_context", "get_bind"),
    "is_offline_mode",
}
"""Attributes by which a revision gets its connection, or from one that it is given to its URL."""

GENUINE = dict(vars(builtins))
PLAIN = (
    *(type(None), bool, int, float, complex, str, bytes, type(...), range, slice),
    *(date, time, timedelta, tzinfo, Decimal, Fraction, UUID, PurePath, re.Pattern, logging.Logger),
)
LIVE = ("sqlalchemy.engine", "sqlalchemy.orm", "sqlalchemy.pool", "sqlalchemy.ext")
ALIASES = (types.GenericAlias, types.UnionType)


def unfixed(
    code: types.CodeType, names: Mapping[str, Any], *, own: bool, connected: bool
) -> str | None:
    """The first name in this code whose value may differ the next time; None if there is none.

    `names` are the variables of its module. `own`: a revision's code, just imported, so that plain
    values in it come from its own text. `connected`: it may get its connection.
    """
    for name in code.co_names:
        if name in SURROUNDINGS or (name in CONNECTION and not connected):
            return name
    return next((name for name, fixed in _referred(code, names, own=own) if not fixed), None)


def _referred(
    code: types.CodeType, names: Mapping[str, Any], *, own: bool
) -> Iterator[tuple[str, bool]]:
    rest = list(dis.get_instructions(code))
    module: types.ModuleType | None = None
    while rest:
        one = rest.pop(0)
        name = str(one.argval)
        if one.opname in ("STORE_GLOBAL", "DELETE_GLOBAL"):
            yield f"global {name}", False
        elif one.opname == "IMPORT_NAME":
            module = _imported(name, names)
            kept = rest[0].opname in ("IMPORT_FROM", "STORE_NAME")  # looked at where it is used
            yield name, kept or _is_safe(module)
        elif one.opname == "IMPORT_FROM":
            yield name, _is_safe(module) or _is_definition(_member(module, name))
        elif one.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            if name in names:
                path, value = _followed(name, names[name], rest)
                here = own and path == name  # not in another module
                yield path, is_fixed(value, str(names.get("__name__")), own=here)
            else:
                yield name, getattr(builtins, name, None) is GENUINE.get(name)


def _followed(name: str, value: Any, rest: Sequence[dis.Instruction]) -> tuple[str, Any]:
    """The object that `package.module.Name` ends at."""
    for following in rest:
        if not isinstance(value, types.ModuleType) or _is_safe(value):
            break
        if following.opname not in ("LOAD_ATTR", "LOAD_METHOD"):
            break
        name, value = f"{name}.{following.argval}", _member(value, str(following.argval))
    return name, value


def _imported(name: str, names: Mapping[str, Any]) -> types.ModuleType | None:
    package = names.get("__package__") or ""
    return sys.modules.get(name) or sys.modules.get(f"{package}.{name}".strip("."))


def _member(module: types.ModuleType | None, name: str) -> Any:
    """A module's member of this name, or the module itself for `import package.name as other`."""
    own_name = str(getattr(module, "__name__", ""))
    return getattr(module, name, module if own_name.endswith(f".{name}") else None)


def _is_safe(value: Any) -> bool:
    """True for Alembic, SQLAlchemy and the safe modules, and for what they define."""
    is_module = isinstance(value, types.ModuleType)
    name = str(getattr(value, "__name__" if is_module else "__module__", None) or "")
    return name in SAFE or name.partition(".")[0] in LIBRARIES


def _is_definition(value: Any) -> bool:
    return isinstance(value, type | types.FunctionType | types.ModuleType)


def is_fixed(value: Any, module: str, *, own: bool) -> bool:
    """True if the value is the same whenever and wherever the code reads it."""
    if isinstance(value, types.ModuleType):
        return _is_safe(value)
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        # Calls are watched, but for what the standard library remembers of its machine.
        top = str(value.__module__ or "").partition(".")[0]
        return top not in sys.stdlib_module_names or _is_safe(value)
    if isinstance(value, type):
        known = _is_safe(value) or (own and value.__module__ == module)
        return known or issubclass(value, enum.Enum | Visitable)
    if isinstance(value, (enum.Enum, Visitable, *ALIASES)) or type(value).__module__ == "typing":
        return True
    return own and _is_plain(value, module)


def _is_plain(value: Any, module: str) -> bool:
    """True for a value that consists of literals only."""
    if isinstance(value, dict | list | tuple | set | frozenset):
        inner = [*value, *value.values()] if isinstance(value, dict) else value
        return all(is_fixed(one, module, own=True) for one in inner)
    kind = type(value).__module__
    ours = kind.startswith(LIBRARIES) and not kind.startswith(LIVE)
    return isinstance(value, PLAIN) or kind == module or ours


def variables(module: types.ModuleType) -> str:
    """A text of the state of a module's variables: it changes when they do."""
    return repr(_kept(vars(module), module.__name__, frozenset()))


def _kept(value: Any, module: str, above: frozenset[int]) -> Any:
    if isinstance(value, str | bytes | int | float):
        return repr(value)
    parts = None if id(value) in above else _parts(value, module)
    if parts is None:
        return id(value)
    within = above | {id(value)}
    found = [_kept(one, module, within) for one in parts]
    return sorted(map(repr, found)) if isinstance(value, set | frozenset) else found


def _parts(value: Any, module: str) -> list[Any] | None:
    """The parts of a container or of the module's own object; None for anything else."""
    if isinstance(value, dict):
        kept = {name: one for name, one in value.items() if name != "__builtins__"}
        return [*kept, *kept.values()]
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    if isinstance(value, types.FunctionType) and value.__module__ == module:
        cells = [_cell(one) for one in value.__closure__ or ()]
        return [value.__defaults__, value.__kwdefaults__, vars(value), *cells]
    kind = value if isinstance(value, type) else type(value)
    if kind.__module__ != module or issubclass(kind, enum.Enum | Visitable):
        return None  # SQLAlchemy remembers what it found out about those
    slots = [getattr(value, str(name), None) for name in getattr(value, "__slots__", ())]
    return [dict(getattr(value, "__dict__", {})), *slots]


def _cell(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty yet
        return None
