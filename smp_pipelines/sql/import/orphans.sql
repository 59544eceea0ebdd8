-- Move the incoming rows whose reference leads nowhere to the refused ones. `within` also looks in
-- the file itself, for a table that refers to itself (a parent organisation).
with gone as (
    delete from smp_incoming as incoming
    where incoming.{column} is not null
      and not exists (select from {table} as known where known.{target} = incoming.{column})
      {within}
    returning incoming.smp_line, incoming.{column}::text as value
)
insert into smp_refused (smp_line, reason)
select smp_line, concat({name}::text, ' ', value, ' is not in ', {other}::text) from gone
