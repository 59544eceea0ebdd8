-- Postgres. Every column that holds a person: whatever refers to crm.person, in any schema, and what is called person_id
-- in ours. With what else makes a row of it unique, so that two rows do not become one key. stamped: the lake follows its
-- rows by changed_tx, which nobody fills by itself.
select
    n.nspname,
    c.relname,
    a.attname,
    n.nspname = 'smp' and exists (
        select from pg_attribute as s where s.attrelid = c.oid and s.attname = 'changed_tx' and not s.attisdropped
    ) as stamped,
    (
        select coalesce(jsonb_agg(jsonb_build_array(others.parts, pg_get_expr(i.indpred, i.indrelid))), '[]')
        from pg_index as i
        cross join lateral (
            select coalesce(jsonb_agg(pg_get_indexdef(i.indexrelid, k, true) order by k), '[]') as parts
            from generate_series(1, i.indnkeyatts) as k
            where i.indkey[k - 1] <> a.attnum
        ) as others
        where i.indrelid = c.oid and i.indisunique and a.attnum = any (i.indkey)
    ) as keys
from pg_attribute as a
join pg_class as c on c.oid = a.attrelid and c.relkind in ('r', 'p') and not c.relispartition
join pg_namespace as n on n.oid = c.relnamespace
where a.attnum > 0
  and not a.attisdropped
  and (
      (a.attname = 'person_id' and n.nspname in ('crm', 'smp'))
      or exists (
          select from pg_constraint as r
          where r.contype = 'f' and r.conrelid = c.oid and r.confrelid = 'crm.person'::regclass and r.conkey = array[a.attnum]
      )
  )
  and (n.nspname, c.relname, a.attname) not in (
      ('crm', 'person', 'person_id'), ('smp', 'message', 'person_id'), ('smp', 'participant', 'person_id')
  )
order by n.nspname, c.relname, a.attnum
