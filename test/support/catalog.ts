import type { Pool } from "../../src/lib/postgres/pool.ts";

/** Everything that the schema of a database says, one sorted line a fact; the order of columns is left out. */
export async function describeCatalog(pool: Pool, exceptTables: readonly string[] = []): Promise<readonly string[]> {
  const { rows } = await pool.query<{ line: string }>(
    `with wanted as (
       select c.oid, c.relname from pg_class c
        where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname <> all ($1)
     )
     select format('column %s.%s %s%s default %s identity %s', w.relname, a.attname, format_type(a.atttypid, a.atttypmod),
                   case when a.attnotnull then ' not null' else '' end, pg_get_expr(d.adbin, d.adrelid), a.attidentity) as line
       from wanted w
       join pg_attribute a on a.attrelid = w.oid and a.attnum > 0 and not a.attisdropped
       left join pg_attrdef d on d.adrelid = w.oid and d.adnum = a.attnum
     union all
     select format('constraint %s on %s: %s valid %s', conname, w.relname, pg_get_constraintdef(c.oid), convalidated)
       from wanted w join pg_constraint c on c.conrelid = w.oid and c.contype <> 'n'
     union all
     select format('index %s valid %s ready %s', pg_get_indexdef(i.indexrelid), indisvalid, indisready)
       from wanted w join pg_index i on i.indrelid = w.oid
     union all
     select format('trigger %s', pg_get_triggerdef(t.oid))
       from wanted w join pg_trigger t on t.tgrelid = w.oid and not t.tgisinternal
     union all
     select format('sequence %s %s from %s by %s max %s of %s', s.sequencename, s.data_type, s.start_value, s.increment_by,
                   s.max_value, w.relname)
       from pg_sequences s
       join pg_depend p on p.objid = format('%I.%I', s.schemaname, s.sequencename)::regclass and p.deptype = 'a'
       join wanted w on w.oid = p.refobjid
     union all
     select format('function %s', p.oid::regprocedure) from pg_proc p where p.pronamespace = 'public'::regnamespace
     order by 1`,
    [exceptTables],
  );
  return rows.map(({ line }) => line);
}

/** What stands in one column: how many rows the table has, and a digest over every value in the order of the rows. */
export interface ColumnContent {
  readonly rows: string;
  readonly digest: string;
}

/**
 * The content of every column of every table but our own history's, by `table.column`. Numbers are compared as decimal text without trailing
 * zeros, so that a float4 and the numeric made of it are the same exactly when no digit was lost or made up.
 */
export async function readContents(pool: Pool): Promise<ReadonlyMap<string, ColumnContent>> {
  const { rows: columns } = await pool.query<{ t: string; c: string; number: boolean; key: string }>(
    `select c.relname::text as t, a.attname::text as c, a.atttypid in ('real'::regtype, 'numeric'::regtype) as number,
            (select string_agg(quote_ident(k.attname), ', ' order by k.attnum)
               from pg_index i join pg_attribute k on k.attrelid = c.oid and k.attnum = any (i.indkey)
              where i.indrelid = c.oid and i.indisprimary) as key
       from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
      where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname <> 'schema_migrations'
      order by 1, 2`,
  );
  const contents = new Map<string, ColumnContent>();
  for (const { t, c, number, key } of columns) {
    const value = number ? `trim_scale("${c}"::text::numeric)::text` : `"${c}"::text`;
    const { rows } = await pool.query<ColumnContent>(
      `select count(*)::text as rows, md5(coalesce(string_agg(coalesce(${value}, '<null>'), ',' order by ${key}), '')) as digest
         from "${t}"`,
    );
    const [content] = rows;
    if (content !== undefined) contents.set(`${t}.${c}`, content);
  }
  return contents;
}
