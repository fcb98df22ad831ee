"""Undo the changes of a half-run revision on PostgreSQL.

Wanted for revisions that leave their transaction (`autocommit_block`): only they can be left
half-way. Nothing that holds data is ever taken back, only what the revision added.
"""

import re
from collections.abc import Callable

from headway.dialects.postgresql.alter import ATTACHED, Key, alters, attached, key_of, value
from headway.dialects.postgresql.image import DATABASE, Image
from headway.errors import RepairRefused

REMADE = (
    *("routine", "view", "materialized view", "index", "constraint", "statistics"),
    *("rule", "trigger", "policy", "event trigger"),
)
"""What holds no data is made again from its definition, in this order."""


def undo(before: Image, now: Image) -> list[str]:
    """The statements that lead from the schema `now` back to `before`.

    Raises RepairRefused if that would lose something, or cannot be done.
    """
    gone = [key_of(key) for key in sorted(before.keys() - now.keys())]
    new = [key_of(key) for key in sorted(now.keys() - before.keys())]
    changed = [key_of(key) for key in sorted(now) if before.get(key, now[key]) != now[key]]
    # What a partition inherits is there once it is attached again, and its own once it is not.
    moved = {key[1] for key in gone + new if key[0] == "partition"}
    gone, new = ([key for key in keys if not _comes_along(key, moved)] for keys in (gone, new))
    holders = [key for key in gone if key[0] not in REMADE and key[0] not in ATTACHED]
    _refuse_lost(holders)
    remade = [key for key in changed if key[0] in REMADE]
    remade += _above(remade + [key for key in gone if key[0].endswith("view")], before, now)
    altered = [key for key in changed if key[0] not in REMADE and key[0] not in ATTACHED]
    again = remade + [key for key in gone if key[0] in REMADE]
    return [
        *_drops(new + [key for key in remade if not _is_replaced(key, before, now)], now),
        *_remakes(again, before),
        *(statement for key in altered for statement in alters(key, before, now)),
        *attached(again, before, now),
    ]


def _comes_along(key: Key, moved: set[str]) -> bool:
    return key[1] in moved and key[0] in ("column", "constraint", "index", "trigger")


def _is_replaced(key: Key, before: Image, now: Image) -> bool:
    """True for a function that takes its old body without being dropped: its result is the same."""

    def head(image: Image) -> str:
        return value(image, key).partition("\n AS ")[0]

    return key[0] == "routine" and head(before).split("\n")[:2] == head(now).split("\n")[:2]


def _above(keys: list[Key], before: Image, now: Image) -> list[Key]:
    """Views that stand on those which are made again."""
    views = [key_of(key) for key in before if key.partition("\n")[0].endswith("view")]
    found: list[Key] = []
    for key in views:
        there = "\n".join(key) in now and key not in keys
        below = [k for k in [*keys, *found] if k[0].endswith("view")]
        if there and any(_mentions(value(before, key), k) for k in below):
            found.append(key)
    return found + (_above(keys + found, before, now) if found else [])


def _mentions(definition: str, key: Key) -> bool:
    name = object_names("\n".join(key))[0]
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", definition) is not None


def object_names(key: str) -> tuple[str, ...]:
    """The bare name in a key, of the table where it stands on one; () for the database itself."""
    kind, name, part = key_of(key)
    if key == DATABASE:
        return ()
    if kind == "sequence details":
        name = part or name
    if kind == "comment" or kind in ("owner", "privileges"):
        name = name.rpartition(" on ")[2]
        if part.endswith("column"):
            name = name.rpartition(".")[0]
    bare = name.partition("(")[0].rpartition(".")[2].strip('"')
    return (bare,) if kind != "object" else (bare or name,)


def describe(key: str) -> str:
    """What a key is about, for people."""
    kind, name, part = key_of(key)
    if key == DATABASE:
        return "the settings of the database"
    if kind in ("comment", "owner", "privileges"):
        return f"the {kind} of {part} {name}"
    if kind == "object":
        return f"the {part} {name}"
    return f"the {kind} {name}{part and f'.{part}'}"


def _refuse_lost(gone: list[Key]) -> None:
    if gone:
        names = ", ".join(describe("\n".join(key)) for key in gone)
        raise RepairRefused(
            f"The failed revision dropped or renamed {names}. Restore from a backup, or finish the "
            "revision by hand and repair with `--as applied`."
        )


def _drops(keys: list[Key], now: Image) -> list[str]:
    """Take what is new away: what stands on something before what it stands on."""
    tables = {name for kind, name, _ in keys if kind == "table"}
    views = {name for kind, name, _ in keys if kind.endswith("view")}

    def those(kind: str, on: Callable[[Key], object] = lambda _: True) -> list[Key]:
        return [k for k in keys if k[0] == kind and k[1] not in tables | views and on(k)]

    def foreign(key: Key) -> bool:
        return value(now, key).startswith("FOREIGN KEY")

    def on_table(kind: str, spelled: str) -> list[str]:
        return [f"DROP {spelled} {part} ON {name}" for _, name, part in those(kind)]

    constraints = sorted(those("constraint"), key=lambda key: not foreign(key))
    statements = [f"DROP EVENT TRIGGER {name}" for _, name, _ in those("event trigger")]
    for kind in ("trigger", "policy", "rule"):
        statements += on_table(kind, kind.upper())
    statements += [f"DROP STATISTICS {name}" for _, name, _ in those("statistics")]
    statements += [
        f"DROP {kind.upper()} {', '.join(found)}"
        for kind in ("view", "materialized view")
        if (found := [name for one, name, _ in keys if one == kind])
    ]
    statements += [f"ALTER TABLE {name} DROP CONSTRAINT {part}" for _, name, part in constraints]
    statements += [f"DROP INDEX {part}" for _, _, part in those("index")]
    statements += [f"ALTER TABLE {name} DROP COLUMN {part}" for _, name, part in those("column")]
    if tables:
        statements.append(f"DROP TABLE {', '.join(sorted(tables))}")
    statements += [f"DROP FOREIGN TABLE {name}" for _, name, _ in those("foreign table")]
    statements += [_drop_object(name, kind) for _, name, kind in those("object")]
    for kind in ("routine", "sequence", "type", "publication", "extension", "schema"):
        statements += [f"DROP {kind.upper()} {name}" for _, name, _ in those(kind)]
    return statements


def _drop_object(name: str, kind: str) -> str:
    if kind in ("default acl", "transform", "access method"):
        raise RepairRefused(
            f"The failed revision made the {kind} {name}. Take it back by hand, then repair again."
        )
    return f"DROP {kind.upper()} {name}"


def _remakes(keys: list[Key], before: Image) -> list[str]:
    """Make what was dropped or changed as it was, from its own definition."""

    def order(key: Key) -> tuple[int, int, bool]:
        return (
            1 if key[0].endswith("view") else REMADE.index(key[0]),
            len(_below(key, before)) if key[0].endswith("view") else 0,
            value(before, key).startswith("FOREIGN KEY"),
        )

    statements = []
    for key in sorted(keys, key=order):
        definition = value(before, key)
        if key[0] == "constraint":
            definition = f"ALTER TABLE {key[1]} ADD CONSTRAINT {key[2]} {definition}"
        if key[0].endswith("view"):
            options = before.get(f"parameters\n{key[1]}\n{key[0][0]}")
            clause = f" WITH ({options})" if options else ""
            definition = f"CREATE {key[0].upper()} {key[1]}{clause} AS {definition}"
        if not definition:
            _refuse_lost([key])  # an aggregate: the server does not spell it
        if not definition.startswith("INVALID "):  # nobody misses a broken index
            statements.append(definition)
    return statements


def _below(key: Key, before: Image) -> set[Key]:
    """The views that this one stands on, near and far."""
    found: set[Key] = set()
    near = {key}
    while near:
        above = near
        near = {
            other
            for text in before
            if text.partition("\n")[0].endswith("view")
            and (other := key_of(text)) not in found | {key}
            and any(_mentions(value(before, one), other) for one in above)
        }
        found |= near
    return found
