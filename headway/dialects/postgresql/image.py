"""PostgreSQL's schema as the server spells it, in all schemas that are not the server's own."""

from collections.abc import Mapping

from sqlalchemy import Connection

from headway import history

Image = Mapping[str, str]
DATABASE = "database\n\n"
"""The key of the database itself. Images of releases that recorded less lack it."""
OLDER = frozenset(
    (
        *("schema", "extension", "table", "sequence", "view", "materialized view", "column"),
        *("constraint", "index", "trigger", "routine", "type"),
    )
)
"""The kinds that those releases knew."""
OTHERS = (
    *("pg_cast", "pg_operator", "pg_opclass", "pg_opfamily", "pg_collation", "pg_conversion"),
    *("pg_ts_config", "pg_ts_dict", "pg_ts_parser", "pg_ts_template", "pg_foreign_data_wrapper"),
    *("pg_foreign_server", "pg_language", "pg_am", "pg_transform", "pg_default_acl"),
)
"""Catalogs of what is rare: known by name, and by the transaction that wrote it last."""

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
), tables AS (SELECT * FROM mine WHERE relkind IN ('r', 'p')), owned AS (
  SELECT 'pg_class'::regclass AS class, m.oid, 0 AS part, c.relowner AS owner,
    coalesce(c.relacl, acldefault(CASE WHEN m.relkind = 'S' THEN 's'::"char" ELSE 'r' END,
      c.relowner)) AS acl
  FROM mine m JOIN pg_class c ON c.oid = m.oid WHERE m.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
  UNION ALL SELECT 'pg_class'::regclass, m.oid, a.attnum, NULL, a.attacl
  FROM mine m JOIN pg_attribute a ON a.attrelid = m.oid AND a.attacl IS NOT NULL
  UNION ALL SELECT 'pg_proc'::regclass, p.oid, 0, p.proowner,
    coalesce(p.proacl, acldefault('f', p.proowner))
  FROM pg_proc p JOIN schemas n ON n.oid = p.pronamespace
  WHERE NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
    AND d.objid = p.oid AND d.deptype IN ('e', 'i'))
  UNION ALL SELECT 'pg_namespace'::regclass, n.oid, 0, n.nspowner,
    coalesce(n.nspacl, acldefault('n', n.nspowner))
  FROM pg_namespace n JOIN schemas s ON s.oid = n.oid
)
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
UNION ALL SELECT 'database', '', '', coalesce((SELECT string_agg(
    concat_ws(' ', setrole::text, setconfig::text), ', ' ORDER BY setrole) FROM pg_db_role_setting
    WHERE setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())), '')
UNION ALL SELECT 'foreign table', name, '', '' FROM mine WHERE relkind = 'f'
UNION ALL SELECT 'parameters', m.name, m.relkind::text, array_to_string(c.reloptions, ', ')
  FROM mine m JOIN pg_class c ON c.oid = m.oid WHERE c.reloptions IS NOT NULL AND m.relkind <> 'i'
UNION ALL SELECT 'persistence', t.name, '', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED' ELSE
    'LOGGED' END FROM tables t JOIN pg_class c ON c.oid = t.oid
UNION ALL SELECT 'row security', t.name, '', concat(
    CASE WHEN c.relrowsecurity THEN 'ENABLE' ELSE 'DISABLE' END, ' ',
    CASE WHEN c.relforcerowsecurity THEN 'FORCE' ELSE 'NO FORCE' END)
  FROM tables t JOIN pg_class c ON c.oid = t.oid
UNION ALL SELECT 'details', t.name, '', concat_ws(', ', c.relreplident, am.amname, s.spcname,
    pg_get_partkeydef(c.oid))
  FROM tables t JOIN pg_class c ON c.oid = t.oid LEFT JOIN pg_am am ON am.oid = c.relam
  LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace
UNION ALL SELECT 'details', m.name, quote_ident(a.attname), concat_ws(', ', a.attstorage,
    nullif(a.attstattarget::text, '-1'), nullif(ARRAY(SELECT o FROM unnest(a.attoptions) AS o
      WHERE o NOT LIKE 'pg\\_%')::text, '{{}}'), a.attfdwoptions::text)
  FROM mine m JOIN pg_attribute a ON a.attrelid = m.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE m.relkind IN ('r', 'p', 'f') AND a.attinhcount = 0
UNION ALL SELECT 'partition', m.name, format('%I.%I', n.nspname, p.relname),
    coalesce(pg_get_expr(c.relpartbound, c.oid), '')
  FROM mine m JOIN pg_class c ON c.oid = m.oid JOIN pg_inherits i ON i.inhrelid = c.oid
  JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace
  WHERE m.relkind IN ('r', 'p', 'f')
UNION ALL SELECT 'policy', m.name, quote_ident(p.polname), concat('CREATE POLICY ',
    quote_ident(p.polname), ' ON ', m.name, ' AS ',
    CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, ' FOR ',
    CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE'
      WHEN 'd' THEN 'DELETE' ELSE 'ALL' END, ' TO ',
    (SELECT string_agg(CASE WHEN r = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(r)) END, ', ')
      FROM unnest(p.polroles) AS r),
    ' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')',
    ' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')
  FROM mine m JOIN pg_policy p ON p.polrelid = m.oid
UNION ALL SELECT 'rule', m.name, quote_ident(r.rulename), pg_get_ruledef(r.oid)
  FROM mine m JOIN pg_rewrite r ON r.ev_class = m.oid AND r.rulename <> '_RETURN'
UNION ALL SELECT 'trigger state', m.name, quote_ident(g.tgname), CASE g.tgenabled
    WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' WHEN 'R' THEN 'ENABLE REPLICA'
    ELSE 'ENABLE' END
  FROM mine m JOIN pg_trigger g ON g.tgrelid = m.oid AND NOT g.tgisinternal AND g.tgparentid = 0
UNION ALL SELECT 'statistics', format('%I.%I', n.nspname, s.stxname), '',
    pg_get_statisticsobjdef(s.oid)
  FROM pg_statistic_ext s JOIN schemas n ON n.oid = s.stxnamespace
UNION ALL SELECT 'event trigger', quote_ident(e.evtname), '', concat('CREATE EVENT TRIGGER ',
    quote_ident(e.evtname), ' ON ', e.evtevent,
    ' WHEN TAG IN (' || (SELECT string_agg(quote_literal(t), ', ') FROM unnest(e.evttags) t) || ')',
    ' EXECUTE FUNCTION ', e.evtfoid::regproc, '()')
  FROM pg_event_trigger e WHERE NOT EXISTS (SELECT 1 FROM pg_depend d
    WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid AND d.deptype = 'e')
UNION ALL SELECT 'trigger state', quote_ident(e.evtname), '', e.evtenabled::text
  FROM pg_event_trigger e WHERE e.evtenabled <> 'O'
UNION ALL SELECT 'publication', quote_ident(p.pubname), '', concat(to_jsonb(p) - 'oid',
    (SELECT string_agg(r.prrelid::regclass::text || (to_jsonb(r) - 'oid')::text, ', '
      ORDER BY r.prrelid) FROM pg_publication_rel r WHERE r.prpubid = p.oid))
  FROM pg_publication p
UNION ALL SELECT 'sequence details', m.name, m.part, concat('AS ', format_type(s.seqtypid, NULL),
    ' INCREMENT BY ', s.seqincrement, ' MINVALUE ', s.seqmin, ' MAXVALUE ', s.seqmax,
    ' START WITH ', s.seqstart, ' CACHE ', s.seqcache,
    CASE WHEN s.seqcycle THEN ' CYCLE' ELSE ' NO CYCLE' END)
  FROM pg_sequence s JOIN (SELECT c.oid, format('%I.%I', n.nspname, c.relname) AS name,
      coalesce((SELECT format('%I.%I', tn.nspname, t.relname) FROM pg_depend d
        JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace
        WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid
        AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')), '') AS part
    FROM pg_class c JOIN schemas n ON n.oid = c.relnamespace WHERE c.relpersistence <> 't'
    AND c.relname <> '{history.NAME}_id_seq' AND NOT EXISTS (SELECT 1 FROM pg_depend d
      WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  ) m ON m.oid = s.seqrelid
UNION ALL SELECT 'details', format('%I.%I', n.nspname, y.typname), 'of a type', concat_ws(', ',
    CASE WHEN y.typtype = 'd' THEN format_type(y.typbasetype, y.typtypmod) END,
    CASE WHEN y.typnotnull THEN 'NOT NULL' END, y.typdefault,
    (SELECT string_agg(concat_ws(' ', k.conname, pg_get_constraintdef(k.oid)), ', '
      ORDER BY k.conname) FROM pg_constraint k WHERE k.contypid = y.oid),
    (SELECT string_agg(concat_ws(' ', a.attname, format_type(a.atttypid, a.atttypmod)), ', '
      ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = y.typrelid
      AND NOT a.attisdropped AND a.attnum > 0))
  FROM pg_type y JOIN schemas n ON n.oid = y.typnamespace
  WHERE (y.typtype = 'd' OR y.typtype = 'c' AND EXISTS (
    SELECT 1 FROM pg_class c WHERE c.oid = y.typrelid AND c.relkind = 'c'))
  AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_type'::regclass
    AND d.objid = y.oid AND d.deptype = 'e')
UNION ALL SELECT 'comment', o.identity, o.type, d.description
  FROM pg_description d CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) o
  WHERE d.objoid >= 16384 AND o.identity IS NOT NULL
  AND (o.schema IS NULL OR o.schema NOT LIKE 'pg\\_%' AND o.schema <> 'information_schema')
  AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = d.classoid
    AND e.objid = d.objoid AND e.deptype = 'e')
UNION ALL SELECT 'owner', o.identity, o.type, quote_ident(pg_get_userbyid(x.owner))
  FROM owned x CROSS JOIN LATERAL pg_identify_object(x.class, x.oid, 0) o WHERE x.part = 0
UNION ALL SELECT 'privileges', o.identity, o.type, string_agg(concat_ws(' ', a.privilege_type,
    CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
    CASE WHEN a.is_grantable THEN 'WITH GRANT OPTION' END), chr(10)
    ORDER BY a.grantee, a.privilege_type)
  FROM owned x CROSS JOIN LATERAL pg_identify_object(x.class, x.oid, x.part) o
  CROSS JOIN LATERAL aclexplode(x.acl) a GROUP BY o.identity, o.type
"""  # noqa: S608  # our own names

OBJECTS = """
UNION ALL SELECT 'object', o.identity, o.type, x.xmin::text
FROM {0} x CROSS JOIN LATERAL pg_identify_object('{0}'::regclass, x.oid, 0) o
WHERE x.oid >= 16384 AND NOT EXISTS (SELECT 1 FROM pg_depend d
  WHERE d.classid = '{0}'::regclass AND d.objid = x.oid AND d.deptype IN ('e', 'i'))
"""


def image(connection: Connection) -> dict[str, str]:
    """Every object of the database, by what it is and its name."""
    query = QUERY + "".join(map(OBJECTS.format, OTHERS))
    rows = connection.exec_driver_sql(query, execution_options={"no_parameters": True})
    return {f"{kind}\n{name}\n{part}": value for kind, name, part, value in rows}


def comparable(before: Image, now: Image) -> tuple[dict[str, str], dict[str, str], str]:
    """Both as the older of them can tell, and what that leaves open, in words."""
    if DATABASE in before:
        return dict(before), dict(now), ""
    known = {key: value for key, value in now.items() if key.partition("\n")[0] in OLDER}
    return (
        dict(before),
        known,
        (
            "The release that ran it recorded less. Look yourself for policies, rules, statistics, "
            "publications, comments, owners and privileges that it made, changed or dropped."
        ),
    )
