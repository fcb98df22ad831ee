"""Names in the code are the field's standard terms.

Names of modules, classes, functions, arguments and fields, and the options of commands, must not
use the words below. Local variables are left to reviews. To check another folder, add it to
FOLDERS.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("headway",)

WORDS = {
    "told": "the type of the value: message, captured, result",
    "tell": "report, describe, message_of",
    "untold": "options_without_…, excluded",
    "said": "text, message, match, statement, value",
    "unsaid": "silenced",
    "nobody": "null, none, missing",
    "heard": "recorded, captured, on_statement",
    "unheard": "incomplete, ignored",
    "hear": "record, capture",
    "hears": "records, is_for_…",
    "mend": "repair, fix",
    "mends": "fixes",
    "mended": "repaired, fixed",
    "mender": "repairer",
    "mending": "repair",
    "born": "created",
    "apart": "difference, isolated",
    "alone": "isolated, exclusive",
    "whoever": "caller, owner, account",
    "whose": "owner",
    "so_many": "count, limit",
    "known": "cached, recorded, registered, previous",
    "unknown_to": "missing_from",
    "seen": "status, result, visited",
    "asking": "query, pending, nondeterministic",
    "asked": "query, request, requested",
    "sealed": "encrypted, signed",
    "chores": "periodic",
    "care": "options, guard",
    "look": "status, probe, inspect",
    "brake": "timeout",
    "spoken": "described",
}
"""A word, or words joined with `_`, and what to say instead."""


def words_of(name: str) -> str:
    """A name in snake case: `isRowGuard`, `is-row-guard` and `is_row_guard` are the same."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)
    return re.sub(r"\W+", "_", spaced).strip("_").lower()


def names_in(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, kind and name of all that is named in a module, and of the options of its commands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            yield node.lineno, "class", node.name
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                    yield part.lineno, "field", part.target.id
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, "function", node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, "argument", node.arg
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            if called in ("option", "argument", "command", "group"):
                for value in node.args:
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        yield value.lineno, called, value.value


def faults_of(source: str, file: str) -> list[str]:
    """Each name that uses one of the words, as `file:line: …` with what to say instead."""
    stem = Path(file).stem if Path(file).stem != "__init__" else Path(file).parent.name
    found = []
    for line, kind, name in [(1, "module", stem), *names_in(source)]:
        words = f"_{words_of(name)}_"
        found += [
            f"{file}:{line}: {kind} {name}: instead of `{word}` say {instead}"
            for word, instead in WORDS.items()
            if f"_{word}_" in words
        ]
    return found


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_are_standard_terms(folder: str) -> None:
    found = [
        fault
        for path in sorted((ROOT / folder).rglob("*.py"))
        for fault in faults_of(path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)))
    ]
    assert not found, "\n".join(found)


SOURCE = """
@option("--as-told")
class NobodyHome:
    mends: str
    def said(self, seen, *, known_as): ...
def allowed(value): told = value
"""


def test_each_kind_of_name_is_checked() -> None:
    faults = "\n".join(faults_of(SOURCE, "headway/alone.py"))
    for name in ("headway/alone.py:1: module alone", "option --as-told", "class NobodyHome"):
        assert name in faults
    for name in ("field mends", "function said", "argument seen", "argument known_as"):
        assert name in faults
    assert "allowed" not in faults
    assert "say fixes" in faults
