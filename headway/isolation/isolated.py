"""Runs a project's code isolated: one project at a time, with its own modules and logging.

Alembic's `op` and `context` are module globals, so two migrations in one process would write
into each other's databases (measured with plain Alembic: the table lands in the other one).
Another thread waits here until the first is done; parallelism is processes.
"""

import asyncio
import decimal
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import copy_context
from typing import Any, TypeVar

import alembic.context
import alembic.op

from headway.isolation import running
from headway.isolation.engines import redirected_engines
from headway.isolation.libraries import followed_loads, in_force_for, noted_imports
from headway.isolation.modules import Modules, modules_in_force, one_at_a_time, working_directory
from headway.isolation.process_settings import own_settings
from headway.isolation.project_logging import own_logging
from headway.isolation.registrations import Registrations, listeners_in_force
from headway.isolation.running import in_project, own_session

T = TypeVar("T")

PROXIED = (alembic.op, alembic.context)
"""Modules that Alembic makes stand for the running environment."""


@contextmanager
def isolated(modules: Modules) -> Iterator[None]:
    """Run a project's code in this process. No other project's code runs meanwhile."""
    if in_project():  # called from within: the ground is laid
        yield
        return
    with (
        one_at_a_time,
        own_session(),
        own_settings(modules.settings),
        _own_loop(),
        modules_in_force(modules),
        _own_environ(modules),
        _own_folder(modules),
        _own_context(modules),
        own_logging(modules.logging, in_project),
        _own_filters(modules.registered),
        _own_entities(modules.registered),
        in_force_for(modules.registered.imported),
        modules.registered.entries_in_force(),
        listeners_in_force(modules.registered, in_project),
        followed_loads(modules.registered.load),
        noted_imports(modules.registered.imported, modules.registered.settle),
        _own_proxies(),
        redirected_engines(),
        _output_to_stderr(),
    ):
        yield


def env_py(modules: Modules, work: Callable[[], T]) -> T:
    """Run an env.py within `isolated`, and keep what it sets up in this process."""
    with running.outside():
        before = dict(os.environ)
        if modules.around and working_directory() != modules.around:
            os.chdir(modules.around)  # an env.py goes from there, each time
    around, inside = copy_context(), copy_context()
    modules.registered.begin_env()
    inside.run(lambda: decimal.setcontext(decimal.getcontext().copy()))  # what it sets in place
    try:
        return without_loop(lambda: inside.run(work))
    except SystemExit as error:
        raise RuntimeError(f"it ended the program ({error.code})") from error
    finally:
        modules.registered.end_env()
        modules.own.settle_tables()
        with running.outside():
            after = dict(os.environ)
        for name in [name for name, value in after.items() if before.get(name) != value]:
            modules.environ[name] = after[name]
            modules.replaced.setdefault(name, before.get(name))
        modules.context = {
            variable: value
            for variable, value in inside.items()
            if variable is not running.session
            and (variable not in around or around[variable] is not value)
        }
        now = working_directory()
        modules.folder = now if now != modules.around else None


@contextmanager
def _own_environ(modules: Modules) -> Iterator[None]:
    """Set the project's environment variables, and restore the program's at the end."""
    modules.replaced = {name: os.environ.get(name) for name in modules.environ}
    os.environ.update(modules.environ)
    if "TZ" in modules.environ:
        time.tzset()
    try:
        yield
    finally:
        for name, value in modules.replaced.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if "TZ" in modules.replaced:
            time.tzset()  # which the project may have called


@contextmanager
def _own_folder(modules: Modules) -> Iterator[None]:
    """Go to the project's working directory, and return to the program's at the end."""
    before = modules.around = working_directory()
    if modules.folder:
        with suppress(OSError):  # it was there for a while
            os.chdir(modules.folder)
    try:
        yield
    finally:
        if before and working_directory() != before:
            os.chdir(before)


@contextmanager
def _own_context(modules: Modules) -> Iterator[None]:
    """Set the project's context variables, and restore the program's at the end."""
    tokens = [(variable, variable.set(value)) for variable, value in modules.context.items()]
    try:
        yield
    finally:
        for variable, token in tokens:
            variable.reset(token)


@contextmanager
def _own_loop() -> Iterator[None]:
    """Restore this thread's event loop at the end: `asyncio.run` removes it."""
    local = getattr(asyncio.get_event_loop_policy(), "_local", None)  # FRAGILE: private
    before = dict(vars(local)) if local is not None else {}
    try:
        yield
    finally:
        if local is not None:
            vars(local).clear()
            vars(local).update(before)


@contextmanager
def _own_proxies() -> Iterator[None]:
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
def _own_entities(kept: Registrations) -> Iterator[None]:
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


@contextmanager
def _own_filters(kept: Registrations) -> Iterator[None]:
    with warnings.catch_warnings():
        if kept.filters is not None:
            warnings.filters[:] = kept.filters  # type: ignore[index]
        before = list(warnings.filters)
        try:
            yield
        finally:
            if list(warnings.filters) != before:
                kept.filters = list(warnings.filters)


class _Output:
    """Standard output for the program, standard error for a project's code.

    What a revision prints must not land among the JSON or the SQL that a command writes.
    """

    def __init__(self, original: Any) -> None:
        self.original = original

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if in_project() else self.original, name)

    def __iter__(self) -> Any:
        return iter(self.original)


@contextmanager
def _output_to_stderr() -> Iterator[None]:
    before = sys.stdout
    sys.stdout = _Output(before)
    try:
        yield
    finally:
        sys.stdout = before  # also where the project has put another in its place


def without_loop(work: Callable[[], T]) -> T:
    """Do the work in a thread without a running event loop, so that env.py may start its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    with ThreadPoolExecutor(1, "env.py") as pool:
        return pool.submit(work).result()
