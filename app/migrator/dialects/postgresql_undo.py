"""PostgreSQL's schema as the server spells it, and the way back from half of a revision.

Wanted for revisions that leave their transaction (`autocommit_block`): only they can be left
half-way. Nothing that holds data is ever taken back, only what the revision added.
"""

from collections.abc import Callable, Mapping

from sqlalchemy import Connection

from app.errors import RepairRefused
from app.migrator import history

Image = Mapping[str, str]
Key = tuple[str, str, str]
"""Kind, the name (of the table, for what stands on one), the name on that table."""

# A dependency of deptype e: it belongs to an extension. a and i: to a column, and goes with it.
QUERY = f"""
WITH schemas AS (
  SELECT oid, nspname FROM pg_namespace
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), mine AS (
  SELECT c.oid, c.relkind, format('%I.%I', n.nspname, c.relname) AS name
  FROM pg_class c JOIN schemas n ON n.oid = c.relnamespace
  WHERE c.relpersistence <> 't' AND c.relname NOT IN ('{history.NAME}', 'alembic_version')
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
    AND d.objid = c.oid AND (d.deptype = 'e' OR c.relkind = 'S' AND d.deptype IN ('a', 'i')))
), tables AS (SELECT * FROM mine WHERE relkind IN ('r', 'p'))
SELECT 'schema', quote_ident(nspname), '', '' FROM schemas
UNION ALL SELECT 'extension', quote_ident(extname), '', '' FROM pg_extension
UNION ALL SELECT 'table', name, '', relkind::text FROM tables
UNION ALL SELECT 'sequence', name, '', '' FROM mine WHERE relkind = 'S'
UNION ALL SELECT 'view', name, '', pg_get_viewdef(oid) FROM mine WHERE relkind = 'v'
UNION ALL SELECT 'materialized view', name, '', pg_get_viewdef(oid) FROM mine WHERE relkind = 'm'
UNION ALL SELECT 'column', t.name, quote_ident(a.attname), concat_ws(chr(10),
    format_type(a.atttypid, a.atttypmod), concat(a.attcollation, a.attidentity, a.attgenerated),
    CASE WHEN a.attnotnull THEN 'NOT NULL' ELSE '' END,
    coalesce(pg_get_expr(d.adbin, d.adrelid), ''))
  FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attinhcount = 0
  LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
UNION ALL SELECT 'constraint', t.name, quote_ident(k.conname), pg_get_constraintdef(k.oid)
  FROM tables t JOIN pg_constraint k ON k.conrelid = t.oid
  WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.coninhcount = 0 AND k.conparentid = 0
UNION ALL SELECT 'index', t.name, format('%I.%I', n.nspname, c.relname),
    CASE WHEN i.indisvalid THEN '' ELSE 'INVALID ' END || pg_get_indexdef(c.oid)
  FROM mine t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid
  JOIN schemas n ON n.oid = c.relnamespace
  WHERE NOT c.relispartition
  AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = c.oid
    AND k.contype IN ('p', 'u', 'x'))
UNION ALL SELECT 'trigger', t.name, quote_ident(g.tgname), pg_get_triggerdef(g.oid)
  FROM mine t JOIN pg_trigger g ON g.tgrelid = t.oid
  WHERE NOT g.tgisinternal AND g.tgparentid = 0
UNION ALL SELECT 'routine', format('%I.%I(%s)', n.nspname, p.proname,
    pg_get_function_identity_arguments(p.oid)), '',
    CASE WHEN p.prokind IN ('f', 'p') THEN pg_get_functiondef(p.oid) ELSE '' END
  FROM pg_proc p JOIN schemas n ON n.oid = p.pronamespace
  WHERE NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
    AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
UNION ALL SELECT 'type', format('%I.%I', n.nspname, y.typname), '',
    coalesce((SELECT string_agg(e.enumlabel, ', ' ORDER BY e.enumsortorder)
      FROM pg_enum e WHERE e.enumtypid = y.oid), '')
  FROM pg_type y JOIN schemas n ON n.oid = y.typnamespace
  WHERE (y.typtype IN ('e', 'd', 'r') OR y.typtype = 'c' AND EXISTS (
    SELECT 1 FROM pg_class c WHERE c.oid = y.typrelid AND c.relkind = 'c'))
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
    AND d.objid = y.oid AND d.deptype = 'e')
"""  # noqa: S608  # our own name

# What holds no data is made again from its definition.
REMADE = ("routine", "index", "constraint", "trigger")


def image(connection: Connection) -> dict[str, str]:
    """Every object of the database, by what it is and its name."""
    rows = connection.exec_driver_sql(QUERY, execution_options={"no_parameters": True})
    return {f"{kind}\n{name}\n{part}": value for kind, name, part, value in rows}


def comparable(before: Image, now: Image) -> tuple[dict[str, str], dict[str, str], str]:
    """Both as the older of them can tell, and what that leaves open, in words."""
    return dict(before), dict(now), ""


def undo(before: Image, now: Image) -> list[str]:
    """The statements that lead from the schema `now` back to `before`.

    Raises RepairRefused if that would lose something, or cannot be done.
    """
    gone = [_key(key) for key in sorted(before.keys() - now.keys())]
    new = [_key(key) for key in sorted(now.keys() - before.keys())]
    changed = [_key(key) for key in sorted(now) if before.get(key, now[key]) != now[key]]
    _refuse_lost([key for key in gone if key[0] not in REMADE])
    remade = [key for key in changed if key[0] in REMADE]
    altered = [key for key in changed if key[0] not in REMADE]
    return [
        *_drops(new + [key for key in remade if key[0] != "routine"], now),
        *_remakes(remade + [key for key in gone if key[0] in REMADE], before),
        *(statement for key in altered for statement in _alters(key, before, now)),
    ]


def subjects(key: str) -> tuple[str, ...]:
    """The bare name in a key, of the table where it stands on one."""
    _, name, _ = _key(key)
    return (name.partition("(")[0].rpartition(".")[2].strip('"'),)


def spoken(key: str) -> str:
    """What a key is about, for people."""
    kind, name, part = _key(key)
    return f"the {kind} {name}{part and f'.{part}'}"


def _key(key: str) -> Key:
    kind, name, part = key.split("\n", 2)
    return kind, name, part


def _value(image: Image, key: Key) -> str:
    return image["\n".join(key)]


def _refuse_lost(gone: list[Key]) -> None:
    if gone:
        names = ", ".join(spoken("\n".join(key)) for key in gone)
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
        return _value(now, key).startswith("FOREIGN KEY")

    constraints = sorted(those("constraint"), key=lambda key: not foreign(key))
    statements = [f"DROP TRIGGER {part} ON {name}" for _, name, part in those("trigger")]
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
    for kind in ("routine", "sequence", "type", "extension", "schema"):
        statements += [f"DROP {kind.upper()} {name}" for _, name, _ in those(kind)]
    return statements


def _remakes(keys: list[Key], before: Image) -> list[str]:
    """Make what was dropped or changed as it was, from its own definition."""

    def order(key: Key) -> tuple[int, bool]:
        return REMADE.index(key[0]), _value(before, key).startswith("FOREIGN KEY")

    statements = []
    for key in sorted(keys, key=order):
        definition = _value(before, key)
        if key[0] == "constraint":
            definition = f"ALTER TABLE {key[1]} ADD CONSTRAINT {key[2]} {definition}"
        if not definition:
            _refuse_lost([key])  # an aggregate: the server does not spell it
        if not definition.startswith("INVALID "):  # nobody misses a broken index
            statements.append(definition)
    return statements


def _alters(key: Key, before: Image, now: Image) -> list[str]:
    """Give a changed thing its old definition, where that loses nothing."""
    kind, name, part = key
    old, new = _value(before, key), _value(now, key)
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
