"""Put a project's registrations in force while its code runs, and take them away afterwards."""

import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import alembic.context
import alembic.op
from alembic.operations import Operations
from sqlalchemy.sql.visitors import Visitable

from headway.isolation.registrations import (
    NAMESPACES,
    TABLES,
    Registrations,
    is_shared_class,
    listeners_in_force,
)

PROXIED = (alembic.op, alembic.context)
"""Modules that Alembic makes stand for the running environment."""


@contextmanager
def registered(kept: Registrations, is_projects: Callable[[], bool]) -> Iterator[None]:
    """While this lasts, the project's registrations are in force, and new ones are recorded.

    `is_projects` returns True in a thread that runs the project's code.
    """
    with (
        _filters(kept),
        _tables(kept),
        _entities(kept),
        _names(kept),
        _compilers(kept),
        listeners_in_force(kept, is_projects),
        _proxies(),
    ):
        yield


@contextmanager
def _proxies() -> Iterator[None]:
    """Restore Alembic's proxies `op` and `context`, which it leaves in place after errors."""
    before = [vars(module).get("_proxy") for module in PROXIED]  # FRAGILE: private
    try:
        yield
    finally:
        for module, old in zip(PROXIED, before, strict=True):
            now = vars(module).get("_proxy")
            if now is not old and now is not None:
                now._remove_proxy()  # noqa: SLF001
            if now is not old and old is not None:
                old._install_proxy()  # noqa: SLF001


@contextmanager
def _tables(kept: Registrations) -> Iterator[None]:
    before = [_copied(table) for table in TABLES]
    for table, mine in zip(TABLES, kept.tables, strict=True):
        for key, value in mine.items():
            _add(table, key, value)
    try:
        yield
    finally:
        for place, (table, old) in enumerate(zip(TABLES, before, strict=True)):
            kept.tables[place] = _taken(table, old, kept)


@contextmanager
def _entities(kept: Registrations) -> Iterator[None]:
    """Give the project a registry of its own in alembic_utils, which has one for the process."""
    before = _entity_registry()
    outer = {name: value.copy() for name, value in before.items()}
    for name, value in before.items():
        value.clear()
        value.update(kept.entities.get(name, ()))
    try:
        yield
    finally:
        now = _entity_registry()
        kept.entities = {name: value.copy() for name, value in now.items()}
        for name, value in now.items():
            value.clear()
            value.update(outer.get(name, ()))


def _entity_registry() -> dict[str, Any]:
    """The dicts and sets of alembic_utils' registry; {} where it is not imported."""
    module = sys.modules.get("alembic_utils.replaceable_entity")
    found = vars(module.registry) if module else {}
    return {name: value for name, value in found.items() if isinstance(value, dict | set)}


def _copied(table: dict[Any, Any]) -> dict[Any, Any]:
    return {key: list(v) if isinstance(v, list) else v for key, v in table.items()}


def _add(table: dict[Any, Any], key: Any, value: Any) -> None:
    if isinstance(value, list):
        table.setdefault(key, []).extend(value)
    else:
        table[key] = value


def _taken(table: dict[Any, Any], before: dict[Any, Any], kept: Registrations) -> dict[Any, Any]:
    """Remove the project's entries from a table; returns them."""
    mine: dict[Any, Any] = {}
    for key, value in list(table.items()):
        old = before.get(key)
        if isinstance(value, list):
            own = [one for one in value if one not in (old or []) and kept.owns(one[0])]
            value[:] = [one for one in value if one not in own]
            if own:
                mine[key] = own
        elif value is not old and kept.owns(value):
            mine[key] = value
            del table[key]
            if key in before:
                table[key] = old
    return mine


@contextmanager
def _names(kept: Registrations) -> Iterator[None]:
    before = [dict(vars(space)) for space in NAMESPACES]
    for space, mine in zip(NAMESPACES, kept.names, strict=True):
        for name, value in mine.items():
            setattr(space, name, value)
    try:
        yield
    finally:
        of_libraries = {name for name in vars(Operations) if _is_of_library(kept, name)}
        for place, (space, old) in enumerate(zip(NAMESPACES, before, strict=True)):
            new = {
                name: value
                for name, value in vars(space).items()
                if not name.startswith("_") and callable(value) and name not in old
                if name not in of_libraries
            }
            kept.names[place] = new
            for name in new:
                delattr(space, name)


def _is_of_library(kept: Registrations, name: str) -> bool:
    """True for an operation that an installed library registered when it was imported."""
    made = getattr(vars(Operations)[name], "__globals__", {})  # FRAGILE: Alembic writes the method
    return "op_cls" in made and not kept.owns(made["op_cls"])


OWN, CALLED = "_compiler_dispatcher", "_compiler_dispatch"


@contextmanager
def _compilers(kept: Registrations) -> Iterator[None]:
    before = {cls: dict(vars(cls)[OWN].specs) for cls in _with_compilers()}
    for cls, attributes in kept.compilers.items():
        for name, value in attributes.items():
            setattr(cls, name, value)
    for cls, specs in kept.compiled.items():
        vars(cls)[OWN].specs.update(specs)
    try:
        yield
    finally:
        kept.compilers, kept.compiled = {}, {}
        for cls in _with_compilers():
            specs = vars(cls)[OWN].specs
            old = before.get(cls)
            mine = {k: v for k, v in specs.items() if (old or {}).get(k) is not v and kept.owns(v)}
            if not mine:
                continue
            if old is None:
                kept.compilers[cls] = {name: vars(cls)[name] for name in (OWN, CALLED)}
                _without_compiler(cls)
            else:
                kept.compiled[cls] = mine
                for name in mine:
                    del specs[name]
                specs.update(old)


def _with_compilers() -> list[type]:
    """Classes of SQLAlchemy and Alembic that `@compiles` was used on."""
    return [cls for cls in _compiled_classes(len(sys.modules)) if OWN in vars(cls)]


@functools.lru_cache(maxsize=2)
def _compiled_classes(_modules: int) -> list[type]:
    """Classes that `@compiles` may be used on. Searched again when modules were imported."""
    todo, seen = [Visitable], {Visitable}
    while todo:
        new = set(type.__subclasses__(todo.pop())) - seen
        seen |= new
        todo += new
    return [cls for cls in seen if is_shared_class(cls)]


def _without_compiler(cls: type) -> None:
    """Restore a class to its state before its first `@compiles`."""
    delattr(cls, OWN)
    delattr(cls, CALLED)
    if original := vars(cls).get("_original_compiler_dispatch"):  # FRAGILE: SQLAlchemy's own
        setattr(cls, CALLED, original)


@contextmanager
def _filters(kept: Registrations) -> Iterator[None]:
    with warnings.catch_warnings():
        if kept.filters is not None:
            warnings.filters[:] = kept.filters  # type: ignore[index]
        before = list(warnings.filters)
        try:
            yield
        finally:
            if list(warnings.filters) != before:
                kept.filters = list(warnings.filters)
