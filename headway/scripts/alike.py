"""Whether two runs of a script gave equal results: values by value, functions by their code."""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

from sqlalchemy import Engine, MetaData

DEPTH = 8
VALUES = (str, bytes, int, float, complex, bool, type(None), frozenset, range)


def alike(one: Any, other: Any, depth: int = DEPTH) -> bool:
    """True if these are certainly equal in effect. In doubt they are not."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, VALUES) or depth == 0:
        return _equal(one, other)
    compare = next((way for kinds, way in _WAYS if isinstance(one, kinds)), _objects)
    return bool(compare(one, other, depth - 1))


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  # somebody's `__eq__`
        return False


def _objects(one: Any, other: Any, depth: int) -> bool:
    if _equal(one, other):
        return True
    has_values = hasattr(one, "__dict__")
    return has_values and alike(vars(one), vars(other), depth)


def _mappings(one: Mapping[Any, Any], other: Mapping[Any, Any], depth: int) -> bool:
    return one.keys() == other.keys() and all(alike(one[k], other[k], depth) for k in one)


def _sequences(one: Sequence[Any], other: Sequence[Any], depth: int) -> bool:
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(alike(a, b, depth) for a, b in pairs)


def _sets(one: AbstractSet[Any], other: AbstractSet[Any], _: int) -> bool:
    return one == other


def _functions(one: FunctionType, other: FunctionType, depth: int) -> bool:
    return (
        _codes(one.__code__, other.__code__)
        and alike(one.__defaults__, other.__defaults__, depth)
        and alike(one.__kwdefaults__, other.__kwdefaults__, depth)
        and alike(_cells(one), _cells(other), depth)
        and all(
            alike(one.__globals__.get(name), other.__globals__.get(name), depth)
            for name in _names(one.__code__)
            if name in one.__globals__ or name in other.__globals__
        )
    )


def _codes(one: CodeType, other: CodeType) -> bool:
    return one.co_code == other.co_code and one.co_names == other.co_names and one == other


def _names(code: CodeType) -> set[str]:
    """The global names that a function and those inside it use."""
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*map(_names, inner))


def _cells(function: FunctionType) -> list[Any]:
    cells = function.__closure__ or ()
    return [cell.cell_contents for cell in cells if _is_filled(cell)]


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _methods(one: MethodType, other: MethodType, depth: int) -> bool:
    return alike(one.__func__, other.__func__, depth) and alike(one.__self__, other.__self__, depth)


def _metadata(one: MetaData, other: MetaData, _: int) -> bool:
    return one.schema == other.schema and set(one.tables) == set(other.tables)


def _modules(one: ModuleType, other: ModuleType, _: int) -> bool:
    return one.__name__ == other.__name__


def _always(*_: Any) -> bool:
    return True


_WAYS: tuple[tuple[Any, Any], ...] = (
    (FunctionType, _functions),
    (MethodType, _methods),
    (MetaData, _metadata),
    (ModuleType, _modules),
    (Engine, _always),  # where each leads is told by its URL, and has to differ
    (Mapping, _mappings),
    (list | tuple, _sequences),
    (AbstractSet, _sets),
)
