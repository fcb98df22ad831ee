"""What is registered with Alembic and SQLAlchemy for a whole process, entry by entry.

Operations, comparators, renderers, dialects, plugins and compilers are kept in tables without a
name of who registered them. So they are read before and after some code runs, and compared.
"""

import functools
import sys
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import alembic.op
from alembic.autogenerate import comparators, render
from alembic.ddl import impl
from alembic.operations import AbstractOperations, BatchOperations, Operations, ops
from alembic.runtime import plugins
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import Visitable

MISSING = object()
OWN, CALLED = "_compiler_dispatcher", "_compiler_dispatch"  # FRAGILE: what `compiles` sets


class Place(Protocol):
    """A table for the whole process, of values by key."""

    def read(self) -> dict[Hashable, Any]: ...
    def get(self, key: Any) -> Any:
        """The value; MISSING if there is none."""

    def put(self, key: Any, value: Any) -> None: ...
    def remove(self, key: Any) -> None: ...


class Table:
    """A dict of Alembic's. Each item of a list in it is a value with a key of its own."""

    def __init__(self, content: dict[Any, Any]) -> None:
        self._content = content

    def read(self) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {}
        for name, value in self._content.items():
            if isinstance(value, list):
                found |= {(name, id(item)): item for item in value}
            else:
                found[name, None] = value
        return found

    def get(self, key: Any) -> Any:
        name, item = key
        if item is None:
            return self._content.get(name, MISSING)
        return next((one for one in self._content.get(name, ()) if id(one) == item), MISSING)

    def put(self, key: Any, value: Any) -> None:
        name, item = key
        if item is None:
            self._content[name] = value
        else:
            self._content.setdefault(name, []).append(value)

    def remove(self, key: Any) -> None:
        name, item = key
        if item is None:
            del self._content[name]
        else:
            self._content[name][:] = [one for one in self._content[name] if id(one) != item]


class Methods:
    """The methods that `Operations.register_operation` adds to a class."""

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def read(self) -> dict[Hashable, Any]:
        return {
            name: value
            for name, value in vars(self._owner).items()
            if not name.startswith("_") and callable(value)
        }

    def get(self, key: Any) -> Any:
        return vars(self._owner).get(key, MISSING)

    def put(self, key: Any, value: Any) -> None:
        setattr(self._owner, key, value)

    def remove(self, key: Any) -> None:
        delattr(self._owner, key)
        if self._owner is Operations:  # FRAGILE: which gives each method to the module `op` as well
            vars(alembic.op).pop(key, None)


class Functions(Methods):
    """What else is put into the module `op`."""

    def read(self) -> dict[Hashable, Any]:
        found = super().read()
        return {name: value for name, value in found.items() if not hasattr(Operations, str(name))}


class Compilers:
    """What `@compiles` was used for, by class of SQLAlchemy or Alembic and dialect."""

    def read(self) -> dict[Hashable, Any]:
        return {
            (cls, dialect): function
            for cls in _compiled_classes(len(sys.modules))
            if OWN in vars(cls)
            for dialect, function in _specs(cls).items()
        }

    def get(self, key: Any) -> Any:
        cls, dialect = key
        return _specs(cls).get(dialect, MISSING) if OWN in vars(cls) else MISSING

    def put(self, key: Any, value: Any) -> None:
        cls, dialect = key
        compiles(cls, *([] if dialect == "default" else [dialect]))(value)

    def remove(self, key: Any) -> None:
        cls, dialect = key
        others = {name: value for name, value in _specs(cls).items() if name != dialect}
        delattr(cls, OWN)
        delattr(cls, CALLED)
        if original := vars(cls).get("_original_compiler_dispatch"):  # FRAGILE: SQLAlchemy's own
            setattr(cls, CALLED, original)
        for name, value in others.items():  # a compiler for `default` had replaced SQLAlchemy's
            self.put((cls, name), value)


def _specs(cls: type) -> dict[str, Any]:
    """The compilers of a class by dialect, without the one that calls SQLAlchemy's own."""
    return {
        dialect: function
        for dialect, function in vars(cls)[OWN].specs.items()
        if function.__module__ != compiles.__module__
    }


@functools.lru_cache(maxsize=2)
def _compiled_classes(_modules: int) -> list[type]:
    """Classes that `@compiles` may be used on. Searched again when modules were imported."""
    todo, seen = [Visitable], {Visitable}
    while todo:
        new = set(type.__subclasses__(todo.pop())) - seen
        seen |= new
        todo += new
    return [cls for cls in seen if is_shared_class(cls)]


def is_shared_class(cls: type) -> bool:
    """True for a class of SQLAlchemy or Alembic."""
    return cls.__module__.partition(".")[0] in ("sqlalchemy", "alembic")


# FRAGILE: private in Alembic. Where it keeps what is registered, by kind.
PLACES: tuple[Place, ...] = (
    Table(comparators._registry),  # noqa: SLF001
    Table(render.renderers._registry),  # noqa: SLF001
    Table(render._constraint_renderers._registry),  # noqa: SLF001
    Table(Operations._to_impl._registry),  # noqa: SLF001
    Table(ops.AddConstraintOp.add_constraint_ops._registry),  # noqa: SLF001
    Table(impl._impls),  # noqa: SLF001
    Table(plugins._all_plugins),  # noqa: SLF001
    *map(Methods, (Operations, AbstractOperations, BatchOperations)),
    Functions(alembic.op),
    Compilers(),
)

Contents = tuple[dict[Hashable, Any], ...]
"""What the places hold, one dict a place."""


@dataclass(eq=False)
class Entry:
    """A value that was registered, and the one that it replaced."""

    place: Place
    key: Hashable
    value: Any
    before: Any = MISSING
    is_away: bool = False

    def put(self) -> None:
        """Register it again, if it was taken away."""
        if self.is_away:
            self.before = self.place.get(self.key)
            self.place.put(self.key, self.value)
            self.is_away = False

    def take(self) -> None:
        """Remove it, unless another has replaced it meanwhile."""
        if self.place.get(self.key) is not self.value:
            return
        self.place.remove(self.key)
        if self.before is not MISSING:
            self.place.put(self.key, self.before)
        self.is_away = True

    @property
    def maker(self) -> Any:
        """A function or class of whoever registered it; None if that cannot be told."""
        if isinstance(self.place, Methods):
            # FRAGILE: Alembic writes the method.
            return getattr(self.value, "__globals__", {}).get("op_cls", self.value)
        if isinstance(self.value, plugins.Plugin):
            found = self.value.autogenerate_comparators._registry.values()  # noqa: SLF001
            return next((function for listed in found for function, _ in listed), None)
        return self.value[0] if isinstance(self.value, tuple) else self.value


def read_places() -> Contents:
    return tuple(place.read() for place in PLACES)


def new_entries(before: Contents, now: Contents) -> Iterator[Entry]:
    """What was registered between two readings."""
    for place, old, new in zip(PLACES, before, now, strict=True):
        if new != old:
            for key, value in new.items():
                replaced = old.get(key, MISSING)
                if replaced is not value:
                    yield Entry(place, key, value, replaced)
