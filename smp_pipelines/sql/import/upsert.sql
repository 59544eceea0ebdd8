-- Insert what is new, update what differs, count both, touch nothing else.
--
-- Rows that are the same are left out by the join: `on conflict` alone would lock, and so write,
-- every row it meets. Its own condition stays, for rows that others write at the same moment. A row
-- version that nothing has locked or replaced (xmax = 0) is a new one.
with fresh as (
    select incoming.*
    from smp_incoming as incoming left join {table} as known on {same_key}
    where known.{first_key} is null or {differs}
),
written as (
    insert into {table} as kept ({names})
    select {names} from fresh order by {keys}
    on conflict ({keys}) {action}
    returning (kept.xmax = 0) as inserted
)
select count(*) filter (where inserted), count(*) filter (where not inserted) from written
