-- Rows of a table that belong to a person.
select
    s.person_id,
    {record}::bigint as record_id,
    %(prefix)s::text || concat_ws(',', {key}) as entry_key,
    {moment} as happened_at
from {table} as s
where s.person_id is not null and {fresh} and {wanted}
