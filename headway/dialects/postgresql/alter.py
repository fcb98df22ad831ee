"""Properties of PostgreSQL objects that ALTER can change, so that they need not be recreated."""

from headway.dialects.postgresql.image import Image
from headway.errors import RepairRefused

Key = tuple[str, str, str]
"""Kind, the name (of the table, for what stands on one), the name on that table."""
ATTACHED = (
    *("persistence", "partition", "parameters", "sequence details", "row security"),
    *("trigger state", "owner", "privileges", "comment", "details"),
)
"""What comes and goes with something else, in the order in which it is put right."""
SPELLED = {
    "table constraint": "CONSTRAINT",
    "statistics object": "STATISTICS",
    **{f"{kind} column": "COLUMN" for kind in ("table", "view", "materialized view")},
    **{f"{kind} column": "COLUMN" for kind in ("foreign table", "composite type")},
}
"""Kinds that statements call otherwise than the catalog does."""


def key_of(key: str) -> Key:
    """An entry's key, taken apart."""
    kind, name, part = key.split("\n", 2)
    return kind, name, part


def value(image: Image, key: Key) -> str:
    """An entry's value."""
    return image["\n".join(key)]


def alters(key: Key, before: Image, now: Image) -> list[str]:
    """Give a changed thing its old definition, where that loses nothing."""
    kind, name, part = key
    old, new = value(before, key), value(now, key)
    if kind == "object" or not (name or part):
        what = f"the {part} {name}" if name else "the settings of the database"
        raise RepairRefused(
            f"The failed revision changed {what}, and its earlier state is not fully known. Fix it "
            "by hand, then repair with `--as applied` or `--as not-applied`."
        )
    if kind != "column":
        raise RepairRefused(
            f"The failed revision changed the {kind} {name}"
            + (f" (it has {new} now, and had {old})" if kind == "type" else "")
            + ", which PostgreSQL cannot take back. Finish the revision by hand and repair with "
            "`--as applied`; or let it pass over what is there (IF NOT EXISTS) and repair with "
            "`--as not-applied`."
        )
    type_, more, null, default = old.split("\n", 3)
    new_type, new_more, new_null, new_default = new.split("\n", 3)
    if (type_, more) != (new_type, new_more):
        raise RepairRefused(
            f"The failed revision changed the type of {name}.{part} from {type_} to {new_type}, "
            "and what did not fit is gone. Restore from a backup, or finish the revision by hand "
            "and repair with `--as applied`."
        )
    column = f"ALTER TABLE {name} ALTER COLUMN {part}"
    statements = []
    if null != new_null:
        statements.append(f"{column} {'SET' if null else 'DROP'} NOT NULL")
    if default != new_default:
        statements.append(
            f"{column} SET DEFAULT {default}" if default else f"{column} DROP DEFAULT"
        )
    return statements


def attached(again: list[Key], before: Image, now: Image) -> list[str]:
    """The statements that put what is attached to other things as it was.

    `again` are those that are made again, and have lost it.
    """
    there = {_base(key_of(key)) for key in now if key.partition("\n")[0] not in ATTACHED}
    there |= {name for key in now for name in [key.split("\n")[1]] if key.startswith("owner\n")}
    remade = {_base(key) for key in again}
    statements: list[str] = []
    keys = [key_of(key) for key in sorted(before.keys() | now.keys())]
    for key in sorted((k for k in keys if k[0] in ATTACHED), key=lambda k: ATTACHED.index(k[0])):
        text = "\n".join(key)
        old, new = before.get(text), now.get(text)
        base = _base(key)
        if base in remade:
            new = "" if key[0] in ("comment", "parameters") else None
            new = old if key[0] == "parameters" else new
        elif base not in there or (old is None and not _stood(key, before)):
            continue
        if old != new:
            statements += _attach(key, old, new)
    return statements


def _base(key: Key) -> str:
    """What a key is attached to: a name that its own key has too."""
    kind, name, part = key
    if kind in ("trigger", "policy", "rule", "constraint") or (kind == "trigger state" and part):
        return f"{part} on {name}"
    if kind == "index" or (kind == "sequence details" and part):
        return part
    if kind in ("comment", "privileges") and part.endswith("column"):
        return name.rpartition(".")[0]
    return name.partition("(")[0]


def _stood(key: Key, before: Image) -> bool:
    """True if what this is attached to was there before, without it."""
    return any(
        _base(key_of(other)) == _base(key)
        for other in before
        if other.partition("\n")[0] not in ATTACHED
    )


def _attach(key: Key, old: str | None, new: str | None) -> list[str]:
    """The statements for one of them; none where the comparison at the end has to say it."""
    kind, name, part = key
    spelled = SPELLED.get(part, part.upper())
    if kind == "comment":
        literal = "'" + old.replace("'", "''") + "'" if old else "NULL"
        return [f"COMMENT ON {spelled} {name} IS {literal}"]
    if kind == "privileges":
        return _granted(key, set((old or "").split("\n")), set((new or "").split("\n")))
    if kind == "parameters":
        return _parameters(key, old or "", new or "")
    if kind == "partition":
        return _partition(key, old, new)
    if not old:
        return []
    return {
        "owner": [f"ALTER {spelled} {name} OWNER TO {old}"],
        "persistence": [f"ALTER TABLE {name} SET {old}"],
        "row security": [
            f"ALTER TABLE {name} {verb} ROW LEVEL SECURITY" for verb in old.split(" ", 1)
        ],
        "sequence details": [f"ALTER SEQUENCE {name} {old}"],
        "trigger state": [f"ALTER TABLE {name} {old} TRIGGER {part}"] if part else [],
    }.get(kind, [])


def _parameters(key: Key, old: str, new: str) -> list[str]:
    _, name, part = key
    what = {"v": "VIEW", "m": "MATERIALIZED VIEW"}.get(part, "TABLE")
    names = ", ".join(item.partition("=")[0] for item in new.split(", "))
    reset = [f"ALTER {what} {name} RESET ({names})"] if new else []
    return reset + ([f"ALTER {what} {name} SET ({old})"] if old else [])


def _partition(key: Key, old: str | None, new: str | None) -> list[str]:
    _, name, parent = key
    if old and new is None:
        return [f"ALTER TABLE {parent} ATTACH PARTITION {name} {old}"]
    if new and old is None:
        return [f"ALTER TABLE {parent} DETACH PARTITION {name}"]
    return []


def _granted(key: Key, old: set[str], new: set[str]) -> list[str]:
    _, name, part = key
    statements = []
    what = f"{SPELLED.get(part, part.upper())} {name}"
    if part in ("view", "materialized view", "foreign table"):
        what = f"TABLE {name}"
    column = ""
    if part.endswith("column"):
        table, _, column = name.rpartition(".")
        what, column = f"TABLE {table}", f" ({column})"
    for line in sorted(new - old - {""}):
        privilege, grantee = line.removesuffix(" WITH GRANT OPTION").split(" ", 1)
        statements.append(f"REVOKE {privilege}{column} ON {what} FROM {grantee}")
    for line in sorted(old - new - {""}):
        privilege, grantee = line.split(" ", 1)
        statements.append(f"GRANT {privilege}{column} ON {what} TO {grantee}")
    return statements
