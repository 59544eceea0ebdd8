-- Postgres. The columns of a person card that may be filled in.
select a.attname
from pg_attribute as a
where a.attrelid = 'crm.person'::regclass
  and a.attnum > 0
  and not a.attisdropped
  and a.attgenerated = ''
  and a.attidentity = ''
  and a.attname not in ('person_id', 'changed_tx', 'blocked')
order by a.attnum
