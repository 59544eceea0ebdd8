-- Postgres. Every run of a selection with its figures: no people, no SQL.
with used as (
    select run, count(*) as sends
    from smp.send, unnest(array[selection_run_id, records_run_id]) as run
    where run is not null
    group by run
)
select
    r.selection_run_id,
    r.selection,
    r.moment,
    r.row_count as rows_selected,
    r.address_count as with_address,
    r.entered,
    r.departed,
    coalesce(u.sends, 0) as sends
from smp.selection_run as r
left join used as u on u.run = r.selection_run_id
order by r.selection_run_id
