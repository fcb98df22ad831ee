"""Routes that are compiled once a process, not for each app that a test makes."""

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

from werkzeug.routing import Rule, rules


def remember_routes() -> None:
    """Let apps share what Werkzeug compiles of a rule: three quarters of what an app costs.

    It writes a function for each rule that makes an address of it, and takes each apart by a long
    pattern. Neither depends on an app.
    """
    made: dict[tuple[object, ...], Callable[..., Any]] = {}
    compile_builder = Rule._compile_builder

    def remembered(rule: Rule, append_unknown: bool = True) -> Callable[..., Any]:
        key = (rule.rule, repr(rule.defaults), tuple(rule._trace), append_unknown)
        if key not in made:
            made[key] = compile_builder(rule, append_unknown)
        return made[key]

    Rule._compile_builder = remembered  # type: ignore[method-assign]
    rules._part_re = SimpleNamespace(match=cache(rules._part_re.match))  # type: ignore[assignment]
