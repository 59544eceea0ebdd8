-- What a flow has seen of a source, and the present snapshot, taken before anything is read. A source that was not
-- looked at before counts from when its trigger first was live: with the flow, or with a version that has it.
select
    pg_current_snapshot()::text as present,
    c.seen::text,
    c.read_from::text,
    c.looked_at,
    coalesce(
        c.since,
        greatest(
            %(live_since)s,
            (
                select min(o.made_at)
                from smp.flow_version as v
                join smp.flow_version as o using (flow_id)
                where v.version_id = %(version_id)s
                  and %(place)s::integer is not null
                  and exists (
                      select from jsonb_array_elements(o.definition -> 'flow' -> 'triggers') as t (trigger)
                      where t.trigger = v.definition -> 'flow' -> 'triggers' -> %(place)s::integer
                  )
            )
        ),
        '-infinity'
    ) as since
from (select 1) as one
left join flow_cursor as c on c.flow_id = %(flow_id)s and c.source = %(source)s
