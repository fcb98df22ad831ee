"""The facts of a PostgreSQL schema, in the server's own spelling. Nothing is evaluated."""

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection

from headway.dialects.facts import Fact, Facts, Key

# A dependency of deptype e: it belongs to an extension. a and i: to a column, and goes with it.
QUERY = """
WITH schemas AS (
  SELECT oid, nspname FROM pg_namespace
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), extended AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), mine AS (
  SELECT c.*, n.nspname FROM pg_class c JOIN schemas n ON n.oid = c.relnamespace
  WHERE c.relpersistence <> 't' AND NOT EXISTS (SELECT 1 FROM extended e
    WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)
), tables AS (SELECT * FROM mine WHERE relkind IN ('r', 'p', 'f')
), routines AS (
  SELECT p.*, n.nspname FROM pg_proc p JOIN schemas n ON n.oid = p.pronamespace
  WHERE NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
    AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
), types AS (
  SELECT y.*, n.nspname FROM pg_type y JOIN schemas n ON n.oid = y.typnamespace
  WHERE NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
    AND d.objid = y.oid AND d.deptype IN ('e', 'i'))
)
SELECT 'schema', '', nspname, '', '', '', NULL FROM schemas
UNION ALL SELECT 'extension', '', extname, '', '', '',
    format('CREATE EXTENSION %I', extname) FROM pg_extension WHERE extname <> 'plpgsql'
UNION ALL SELECT 'event trigger', '', t.evtname, '',
    concat_ws(' ', t.evtevent, t.evtfoid::regprocedure, t.evtenabled, t.evttags), '', NULL
  FROM pg_event_trigger t WHERE NOT EXISTS (SELECT 1 FROM extended e
    WHERE e.classid = 'pg_event_trigger'::regclass AND e.objid = t.oid)
UNION ALL SELECT 'publication', '', pubname, '', '', '', NULL FROM pg_publication
UNION ALL SELECT CASE relkind WHEN 'f' THEN 'foreign table' ELSE 'table' END, nspname, relname, '',
    concat_ws(' ', relkind, relpersistence,
    pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid),
    (SELECT string_agg(i.inhparent::regclass::text, ',' ORDER BY i.inhseqno)
     FROM pg_inherits i WHERE i.inhrelid = t.oid), relrowsecurity, relforcerowsecurity),
    coalesce(obj_description(oid, 'pg_class'), ''), NULL FROM tables t
UNION ALL SELECT 'sequence', c.nspname, c.relname, '', concat_ws(' ', s.seqtypid::regtype,
    s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcycle), '', NULL
  FROM mine c JOIN pg_sequence s ON s.seqrelid = c.oid
  WHERE NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
    AND d.objid = c.oid AND d.deptype IN ('a', 'i'))
UNION ALL SELECT CASE relkind WHEN 'v' THEN 'view' ELSE 'materialized view' END, nspname, relname,
    '', concat_ws(' ', reloptions, pg_get_viewdef(oid)), '', format('CREATE%s VIEW %I.%I AS %s',
    CASE relkind WHEN 'm' THEN ' MATERIALIZED' END, nspname, relname, pg_get_viewdef(oid))
  FROM mine WHERE relkind IN ('v', 'm')
UNION ALL SELECT 'column', t.nspname, t.relname, a.attname, concat_ws(' ',
    format_type(a.atttypid, a.atttypmod), concat(a.attidentity, a.attgenerated),
    CASE WHEN a.attnotnull THEN 'NOT NULL' END,
    (SELECT format('%I.%I', n.nspname, l.collname) FROM pg_collation l
     JOIN pg_namespace n ON n.oid = l.collnamespace JOIN pg_type y ON y.oid = a.atttypid
     WHERE l.oid = a.attcollation AND a.attcollation <> y.typcollation),
    pg_get_expr(d.adbin, d.adrelid)), coalesce(col_description(t.oid, a.attnum), ''), NULL
  FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_attrdef d ON d.adrelid = t.oid AND d.adnum = a.attnum
UNION ALL SELECT 'constraint', t.nspname, t.relname,
    CASE WHEN k.contype IN ('p', 'f') THEN pg_get_constraintdef(k.oid) ELSE k.conname END,
    pg_get_constraintdef(k.oid), '', NULL
  FROM tables t JOIN pg_constraint k ON k.conrelid = t.oid
  WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND k.coninhcount = 0 AND k.conparentid = 0
UNION ALL SELECT 'index', t.nspname, t.relname, c.relname, concat_ws(' ',
    CASE WHEN NOT i.indisvalid THEN 'INVALID' END, pg_get_indexdef(c.oid)), '',
    pg_get_indexdef(c.oid)
  FROM mine t JOIN pg_index i ON i.indrelid = t.oid JOIN pg_class c ON c.oid = i.indexrelid
  WHERE NOT c.relispartition AND NOT EXISTS (SELECT 1 FROM pg_constraint k
    WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
UNION ALL SELECT 'trigger', t.nspname, t.relname, g.tgname,
    concat_ws(' ', g.tgenabled, pg_get_triggerdef(g.oid)), '', pg_get_triggerdef(g.oid)
  FROM mine t JOIN pg_trigger g ON g.tgrelid = t.oid
  WHERE NOT g.tgisinternal AND g.tgparentid = 0
UNION ALL SELECT 'rule', t.nspname, t.relname, r.rulename, pg_get_ruledef(r.oid), '',
    pg_get_ruledef(r.oid)
  FROM mine t JOIN pg_rewrite r ON r.ev_class = t.oid WHERE r.rulename <> '_RETURN'
UNION ALL SELECT 'policy', t.nspname, t.relname, p.polname, concat_ws(' ', p.polcmd,
    p.polpermissive, (SELECT string_agg(CASE WHEN o = 0 THEN 'public' ELSE pg_get_userbyid(o) END,
      ',' ORDER BY o) FROM unnest(p.polroles) o), pg_get_expr(p.polqual, p.polrelid), '|',
    pg_get_expr(p.polwithcheck, p.polrelid)), '', NULL
  FROM mine t JOIN pg_policy p ON p.polrelid = t.oid
UNION ALL SELECT 'statistics', n.nspname, x.stxname, '', pg_get_statisticsobjdef(x.oid), '',
    pg_get_statisticsobjdef(x.oid)
  FROM pg_statistic_ext x JOIN schemas n ON n.oid = x.stxnamespace
UNION ALL SELECT 'routine', nspname,
    format('%s(%s)', proname, pg_get_function_identity_arguments(oid)), '',
    CASE WHEN prokind = 'a' THEN 'aggregate' ELSE pg_get_functiondef(oid) END, '',
    CASE WHEN prokind <> 'a' THEN pg_get_functiondef(oid) END FROM routines
UNION ALL SELECT 'type', nspname, typname, '', concat_ws(' ', typtype,
    (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
     FROM pg_enum e WHERE e.enumtypid = y.oid),
    CASE WHEN typtype = 'd' THEN concat_ws(' ', format_type(typbasetype, typtypmod),
      CASE WHEN typnotnull THEN 'NOT NULL' END, typdefault,
      (SELECT string_agg(pg_get_constraintdef(k.oid), ' ' ORDER BY pg_get_constraintdef(k.oid))
       FROM pg_constraint k WHERE k.contypid = y.oid AND k.contype = 'c')) END,
    (SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', '
      ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = y.typrelid
      AND a.attnum > 0 AND NOT a.attisdropped),
    (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = y.oid)), '', NULL
  FROM types y WHERE typtype IN ('e', 'd', 'r') OR typtype = 'c' AND EXISTS (
    SELECT 1 FROM pg_class c WHERE c.oid = y.typrelid AND c.relkind = 'c')
"""


def facts(connection: Connection) -> Facts:
    """Everything in the database, but what belongs to an extension."""
    with _path(connection, ""):
        rows = connection.exec_driver_sql(QUERY, execution_options={"no_parameters": True})
        return {Key(*map(str, row[:4])): Fact(*row[4:]) for row in rows}


@contextlib.contextmanager
def default_schema_set(connection: Connection, schema: str | None) -> Iterator[None]:
    """While this lasts, `schema` is the default schema, for SQLAlchemy and the server alike."""
    if schema is None:
        yield
        return
    dialect = connection.dialect
    before = dialect.default_schema_name
    dialect.default_schema_name = schema
    try:
        quoted = dialect.identifier_preparer.quote(schema)
        with _path(connection, quoted):
            yield
    finally:
        dialect.default_schema_name = before


@contextlib.contextmanager
def _path(connection: Connection, path: str) -> Iterator[None]:
    """While this lasts, use this search path, which decides how the server prints names."""
    with connection.begin_nested() as here:
        connection.exec_driver_sql("SELECT set_config('search_path', %s, true)", (path,))
        yield
        here.rollback()
