"""A tenant's schema in a shared PostgreSQL database: made, dropped, and nobody else's touched."""

import contextlib
from typing import Any

from sqlalchemy import URL

from headway.dialects.driver import Raw, ask, closing, display_url, sqlstate
from headway.dialects.search_path import quoted, tenant_of
from headway.dialects.translation import opened
from headway.dialects.urls import DatabaseURL
from headway.errors import DatabaseExists, StillNeeded

MOST_NAMES = 10
"""So many names are told of what others have."""
TAKEN = ("42P06", "23505")
"""A schema of this name is there; or another session has just made it."""

BEGINS = "SELECT current_schema(), EXISTS (SELECT 1 FROM pg_namespace WHERE nspname = %s)"

OTHERS = """
SELECT n.nspname FROM pg_namespace n
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
AND n.nspname IS DISTINCT FROM current_schema()
AND EXISTS (SELECT 1 FROM pg_depend d
  WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
  AND d.deptype = 'n' AND d.classid <> 'pg_extension'::regclass
  AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = d.classid
    AND e.objid = d.objid AND e.deptype = 'e'))
ORDER BY 1
"""

# As DROP … CASCADE goes: all that depends on it, in any way; and the whole, of which something is
# a part that cannot go alone (deptype i: the view of a rule; e: the extension of a function).
# What is a part of something else is told by that; and what is kept about a schema's own objects
# (a publication's list, default privileges, casts of its types) goes with them.
OUTSIDE = """
WITH RECURSIVE gone (classid, objid, objsubid) AS (
  SELECT 'pg_namespace'::regclass::oid, oid, 0 FROM pg_namespace WHERE nspname = %s
  UNION
  SELECT n.classid, n.objid, n.objsubid FROM gone g CROSS JOIN LATERAL (
    SELECT d.classid, d.objid, d.objsubid FROM pg_depend d
    WHERE d.refclassid = g.classid AND d.refobjid = g.objid
    AND (g.objsubid = 0 OR d.refobjsubid = g.objsubid)
    UNION ALL
    SELECT d.refclassid, d.refobjid, d.refobjsubid FROM pg_depend d
    WHERE d.classid = g.classid AND d.objid = g.objid AND d.objsubid = g.objsubid
    AND d.deptype IN ('i', 'e')
  ) n
), told AS (
  SELECT g.*, g.classid::regclass::text AS kind FROM gone g
  WHERE NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = g.classid AND d.objid = g.objid
    AND d.objsubid = g.objsubid AND d.deptype = 'i')
), home AS (
  SELECT t.*, CASE t.kind
    WHEN 'pg_namespace' THEN t.objid
    WHEN 'pg_constraint' THEN (SELECT connamespace FROM pg_constraint WHERE oid = t.objid)
    WHEN 'pg_extension' THEN (SELECT extnamespace FROM pg_extension WHERE oid = t.objid)
    WHEN 'pg_default_acl' THEN (SELECT defaclnamespace FROM pg_default_acl WHERE oid = t.objid)
    WHEN 'pg_attrdef' THEN (SELECT c.relnamespace FROM pg_attrdef x
      JOIN pg_class c ON c.oid = x.adrelid WHERE x.oid = t.objid)
    WHEN 'pg_trigger' THEN (SELECT c.relnamespace FROM pg_trigger x
      JOIN pg_class c ON c.oid = x.tgrelid WHERE x.oid = t.objid)
    WHEN 'pg_rewrite' THEN (SELECT c.relnamespace FROM pg_rewrite x
      JOIN pg_class c ON c.oid = x.ev_class WHERE x.oid = t.objid)
    WHEN 'pg_policy' THEN (SELECT c.relnamespace FROM pg_policy x
      JOIN pg_class c ON c.oid = x.polrelid WHERE x.oid = t.objid)
    WHEN 'pg_amop' THEN (SELECT f.opfnamespace FROM pg_amop x
      JOIN pg_opfamily f ON f.oid = x.amopfamily WHERE x.oid = t.objid)
    WHEN 'pg_amproc' THEN (SELECT f.opfnamespace FROM pg_amproc x
      JOIN pg_opfamily f ON f.oid = x.amprocfamily WHERE x.oid = t.objid)
    WHEN 'pg_cast' THEN (SELECT y.typnamespace FROM pg_cast x JOIN pg_type y
      ON y.oid IN (x.castsource, x.casttarget) WHERE x.oid = t.objid
      ORDER BY y.typnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %s) DESC LIMIT 1)
    WHEN 'pg_transform' THEN (SELECT y.typnamespace FROM pg_transform x
      JOIN pg_type y ON y.oid = x.trftype WHERE x.oid = t.objid)
    ELSE to_regnamespace((pg_identify_object(t.classid, t.objid, t.objsubid)).schema)::oid
    END AS schema
  FROM told t WHERE t.kind NOT IN ('pg_publication_rel', 'pg_publication_namespace')
)
SELECT o.type || ' ' || o.identity
FROM home h CROSS JOIN LATERAL pg_identify_object(h.classid, h.objid, h.objsubid) o
WHERE h.schema IS DISTINCT FROM (SELECT oid FROM pg_namespace WHERE nspname = %s)
AND h.schema IS DISTINCT FROM 'pg_toast'::regnamespace
ORDER BY h.kind <> 'pg_class', h.objsubid <> 0, 1
"""


def others(raw: Raw) -> tuple[str, ...]:
    """Other schemas than the session's that hold objects, but for those of an extension."""
    return tuple(name for (name,) in ask(raw, OTHERS))


def exists(url: URL) -> bool:
    """True if there is such a schema in its database, empty or not."""
    with closing(opened(url)) as raw:
        query = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
        return bool(ask(raw, query, [DatabaseURL.of(url).schema]))


def make(url: URL) -> None:
    """Make an empty schema. Raises DatabaseExists."""
    schema = _own(url, "made")
    with closing(opened(url)) as raw, contextlib.closing(raw.cursor()) as cursor:
        try:
            cursor.execute(f"CREATE SCHEMA {quoted(schema)}")
        except Exception as error:
            if sqlstate(error) not in TAKEN:
                raise
            raise DatabaseExists(
                f"There is a schema {schema} already: {display_url(url)}. Nothing was changed."
            ) from error
        _refuse_other_reading(cursor, url, schema)
        raw.commit()


def drop(raw: Raw, url: URL) -> None:
    """Drop a schema on a session that holds its lock, if nothing else goes with it.

    Raises StillNeeded, with nothing dropped, if something outside of it would go or change.
    """
    schema = _own(url, "dropped")
    try:
        with contextlib.closing(raw.cursor()) as cursor:
            _refuse_other_reading(cursor, url, schema)
            cursor.execute(f"DROP SCHEMA IF EXISTS {quoted(schema)} CASCADE")
        # Another session sees all as it was; what is gone here is locked, so that nobody can
        # begin to need it meanwhile.
        with closing(opened(url)) as other:
            _refuse_needed(other, url, schema)
    except BaseException:
        raw.rollback()
        raise
    raw.commit()


def _own(url: URL, what: str) -> str:
    schema = tenant_of(url, what)
    assert schema is not None  # noqa: S101  # whoever has none asks for a database
    return schema


def _refuse_other_reading(cursor: Any, url: URL, schema: str) -> None:
    """Raise StillNeeded if the server takes the URL's words for another schema than this one.

    It has the last word: how it reads a name depends on its encoding, too.
    """
    cursor.execute(BEGINS, [schema])
    begins, is_there = cursor.fetchone()
    if is_there and begins != schema:
        raise StillNeeded(
            f"{display_url(url)} names the schema {schema}, and its user's session begins in "
            f"{begins or 'no schema'}: it may not use {schema}, or the server reads the name in "
            "the URL in another way. Nothing was changed. Grant it USAGE on the schema, or give "
            "the schema a name of ASCII letters."
        )


def _refuse_needed(raw: Raw, url: URL, schema: str) -> None:
    """Raise StillNeeded for what would go with a schema, or change, and is outside of it."""
    found = [name for (name,) in ask(raw, OUTSIDE, [schema] * 3)]
    if not found:
        return
    more = len(found) - MOST_NAMES
    names = ", ".join(found[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
    raise StillNeeded(
        f"{display_url(url)}: something outside of the schema {schema} depends on it and would be "
        f"dropped or changed with it: {names}. Nothing was dropped. Drop or change these first."
    )
