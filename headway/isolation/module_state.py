"""The state of modules as comparable values: equal exactly if nothing changed.

A walk goes from the variables of modules into containers, objects, classes, functions and caches.
What belongs to a library is compared by identity. What cannot be inspected, such as the position of
a generator, is reported: whether it changed is unknown.
"""

import _thread
import abc
import copyreg
import enum
import functools
import gc
import inspect
import io
import itertools
import logging
import operator
import random
import re
import struct
import sys
import threading
import types
import weakref
from array import array
from collections import deque, namedtuple
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePath
from typing import TYPE_CHECKING, Any
from uuid import UUID

from sqlalchemy import Engine, MetaData
from sqlalchemy.util import ScopedRegistry

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MOST = 200_000
"""How many values are compared before a project counts as not comparable."""
ATOMS = (
    *(type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented), range),
    *(slice, date, time, timedelta, tzinfo, Decimal, Fraction, UUID, PurePath, re.Pattern),
)
_POINT = namedtuple("_POINT", "x")  # noqa: PYI024  # for the kind of its fields
HARMLESS = (
    *(types.BuiltinFunctionType, types.CodeType, types.FrameType, types.GenericAlias),
    *(types.GetSetDescriptorType, types.MemberDescriptorType, types.MethodDescriptorType),
    *(types.ClassMethodDescriptorType, types.WrapperDescriptorType, types.MethodWrapperType),
    *(types.UnionType, types.TracebackType, type(_thread.allocate_lock()), type(_thread.RLock())),
    *(operator.itemgetter, operator.attrgetter, operator.methodcaller, type(_POINT.x)),
    *(weakref.ref, weakref.ProxyType, weakref.CallableProxyType, struct.Struct, re.Match),
    *(logging.Logger, logging.Handler, logging.Formatter, logging.Filter, threading.Thread),
)
"""Types without state of the modules': compared by identity."""
QUIET_MODULES = {"typing", "importlib", "_frozen_importlib", "_frozen_importlib_external", "ssl"}
LIBRARIES = {"sqlalchemy", "alembic"}


class Walk:
    """One pass over the state of modules."""

    def __init__(self, names: Collection[str], *, by_value: bool = False) -> None:
        self._names = names
        self._by_value = by_value
        """True to compare with another import, whose objects are different ones."""
        self._numbers: dict[int, int] = {}
        self._ways: dict[type, str] = {}
        self._looked_at: list[Any] = []
        """Keeps visited objects alive, so that no other object gets their id."""
        self.tables: list[tuple[str, int]] = []
        """The tables of every MetaData, with their numbers of columns."""
        self.unknown: str | None = None
        """The first thing that cannot be compared."""

    def module(self, module: types.ModuleType) -> Any:
        """The comparable state of a module's variables."""
        try:
            return self._names_of(vars(module))
        except Exception as error:  # noqa: BLE001  # somebody's `__eq__`, or too deep
            return self._note_unknown(f"{module.__name__} ({type(error).__name__})")

    def _names_of(self, names: Mapping[str, Any]) -> Any:
        return [
            (name, self.value(value))
            for name, value in list(names.items())
            if not _is_dunder(name) and type(value) is not types.ModuleType
        ]

    def value(self, value: Any) -> Any:
        """One value in comparable form."""
        kind = type(value)
        if kind in ATOMS:
            return (kind.__name__, value if kind is not float else repr(value))
        number = self._numbers.get(id(value))
        if number is not None:
            return ("again", number)
        self._numbers[id(value)] = len(self._numbers)
        self._looked_at.append(value)
        if len(self._looked_at) > MOST:
            return self._note_unknown("more than can be compared")
        way = self._ways.get(kind)
        if way is None:
            way = self._ways[kind] = _way(kind)
        return getattr(self, way)(value)

    def _note_unknown(self, what: str) -> Any:
        self.unknown = self.unknown or what
        return ("unknown", what)

    def _same(self, value: Any) -> Any:
        """Compared by identity; in another import, by type."""
        return (type(value).__qualname__, None if self._by_value else id(value))

    def _all(self, values: Any) -> list[Any]:
        return [self.value(one) for one in list(values)]

    def _mapping(self, value: Any) -> Any:
        pairs = [(self.value(name), self.value(one)) for name, one in list(value.items())]
        return (type(value).__qualname__, pairs, self._attributes(value))

    def _sequence(self, value: Any) -> Any:
        return (type(value).__qualname__, self._all(value), self._attributes(value))

    def _set(self, value: Any) -> Any:
        kept = sorted(self._all(value), key=repr)
        return (type(value).__qualname__, kept, self._attributes(value))

    def _class(self, value: type) -> Any:
        if value.__module__ not in self._names:
            return self._same(value)
        kept = {
            name: one
            for name, one in vars(value).items()
            if not name.startswith(("_abc_", "_sa_")) and not _is_of(type(one), LIBRARIES)
        }
        return ("class", value.__qualname__, self._names_of(kept))

    def _function(self, value: Any) -> Any:
        is_own = value.__module__ in self._names
        if not is_own and (not value.__closure__ or _is_of(value, LIBRARIES)):
            return self._same(value)
        cells = [self.value(one) for one in _cells(value)]
        kept = [value.__defaults__, value.__kwdefaults__, vars(value)]
        return ("function", value.__qualname__, self._all(kept), cells)

    def _method(self, value: types.MethodType) -> Any:
        return ("method", self.value(value.__func__), self.value(value.__self__))

    def _builtin(self, value: Any) -> Any:
        owner = value.__self__  # of `ITEMS.append`
        if owner is None or isinstance(owner, type | types.ModuleType):
            return self._same(value)
        return ("method", value.__name__, self.value(owner))

    def _partial(self, value: Any) -> Any:
        return ("partial", self._all([value.func, value.args, value.keywords, vars(value)]))

    def _cache(self, value: Any) -> Any:
        kept, info = None, value.cache_info()
        if info.currsize and info.maxsize is None:
            kept = self._all(one for one in gc.get_referents(value) if type(one) is dict)
        elif info.currsize and not inspect.signature(value).parameters:
            kept = self.value(value())  # which is there
        elif info.currsize:
            return self._note_unknown(f"what {value.__name__}() has in its cache")
        return ("cache", info.currsize, kept, self.value(value.__wrapped__))

    def _descriptor(self, value: Any) -> Any:
        parts = [value.fget, value.fset] if isinstance(value, property) else [value.__func__]
        return (type(value).__qualname__, self._all(parts))

    def _metadata(self, value: MetaData) -> Any:
        self.tables += sorted((name, len(one.columns)) for name, one in value.tables.items())
        return ("metadata", value.schema, self.value(value.info))

    def _session(self, value: "Session") -> Any:
        return (self._same(value), len(value.identity_map), self._attributes(value))

    def _registry(self, value: Any) -> Any:
        kept = value() if value.has() else None
        return (self._same(value), self.value(kept))

    def _engine(self, value: Engine) -> Any:
        return (self._same(value), value.url.render_as_string(hide_password=False))

    def _local(self, value: threading.local) -> Any:
        return ("local", self.value(dict(vars(value))))

    def _variable(self, value: ContextVar[Any]) -> Any:
        return ("variable", value.name, self.value(value.get(None)))

    def _random(self, value: random.Random) -> Any:
        if value is getattr(random, "_inst", None):
            return ("random",)  # every library uses that
        return ("random", value.getstate())

    def _repr(self, value: Any) -> Any:
        return repr(value)

    def _bytes(self, value: Any) -> Any:
        return (type(value).__qualname__, bytes(value))

    def _stream(self, value: Any) -> Any:
        if value in (sys.stdin, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            return "stream"
        return self._note_unknown("an open file")

    def _enum(self, value: Any) -> Any:
        return (type(value).__qualname__, value.name)

    def _atom(self, value: Any) -> Any:
        return (type(value).__qualname__, value, self._attributes(value))

    def _object(self, value: Any) -> Any:
        kind = type(value)
        if _is_of(kind, LIBRARIES):
            sessions = getattr(value, "registry", None)  # of a scoped_session
            is_scoped = isinstance(sessions, ScopedRegistry)
            return (self._same(value), self._registry(sessions) if is_scoped else None)
        if kind is object or _is_of(kind, QUIET_MODULES) or _is_abc(kind):
            return self._same(value)
        kept = self._attributes(value)
        if kept is not None:
            return (kind.__qualname__, kept)
        top = kind.__module__.partition(".")[0]
        if top not in sys.stdlib_module_names and not hasattr(kind, "__len__"):
            return self._same(value)  # compiled, and no container
        return self._note_unknown(f"a {kind.__qualname__}")

    def _attributes(self, value: Any) -> Any:
        """Values in its `__dict__` and slots; None for an object that has neither."""
        kept: dict[str, Any] = {}
        slots = _slots(type(value))
        for name in slots:
            with suppress(AttributeError):
                kept[name] = object.__getattribute__(value, name)
        has_names = False
        with suppress(AttributeError):
            kept |= object.__getattribute__(value, "__dict__")
            has_names = True
        return self._names_of(kept) if has_names or slots or _is_python(type(value)) else None


def _way(kind: type[Any]) -> str:
    """The method of Walk for values of this type."""
    # Who has a session has imported the ORM. Others do without: it takes as long as Alembic.
    if issubclass(kind, getattr(sys.modules.get("sqlalchemy.orm"), "Session", ())):
        return "_session"
    return next((way for kinds, way in _WAYS if issubclass(kind, kinds)), "_object")


def _slots(kind: type[Any]) -> tuple[str, ...]:
    return tuple(copyreg._slotnames(kind))  # type: ignore[attr-defined]  # noqa: SLF001


def _is_python(kind: type) -> bool:
    """True for a class that is written in Python, with empty slots."""
    return "__slots__" in vars(kind)


def _is_dunder(name: object) -> bool:
    return isinstance(name, str) and name.startswith("__") and name.endswith("__")


def _is_of(kind: Any, tops: Collection[str]) -> bool:
    return str(kind.__module__).partition(".")[0] in tops


def _is_abc(kind: type) -> bool:
    return kind.__module__ in ("_abc", abc.__name__)


def _cells(function: Any) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # empty yet
            yield cell.cell_contents


_WAYS: tuple[tuple[Any, str], ...] = (
    (enum.Enum, "_enum"),
    (type, "_class"),
    (types.FunctionType, "_function"),
    (types.MethodType, "_method"),
    (types.BuiltinFunctionType, "_builtin"),
    (types.ModuleType, "_same"),
    (HARMLESS, "_same"),
    (functools._lru_cache_wrapper, "_cache"),  # noqa: SLF001
    (functools.partial, "_partial"),
    ((property, classmethod, staticmethod), "_descriptor"),
    (MetaData, "_metadata"),
    (ScopedRegistry, "_registry"),
    (Engine, "_engine"),
    ((dict, types.MappingProxyType), "_mapping"),
    ((list, tuple, deque, array), "_sequence"),
    ((set, frozenset), "_set"),
    (bytearray, "_bytes"),
    (threading.local, "_local"),
    (ContextVar, "_variable"),
    (random.Random, "_random"),
    (itertools.count, "_repr"),
    (ATOMS, "_atom"),
    (io.IOBase, "_stream"),
)
