-- Who moved to this flow from another one, and what it was about when both flows are about the same kind of record.
select
    f.flow,
    s.person_id,
    case when v.definition -> 'flow' ->> 'record' = %(record)s::text then s.record_id end as record_id,
    'moved:' || s.participant_id as entry_key,
    s.left_at as happened_at
from participant as s
join smp.flow as f on f.flow_id = s.flow_id
left join smp.flow_version as v on v.version_id = s.version_id
where s.outcome = 'moved' and s.reason = %(flow)s and s.flow_id <> %(flow_id)s and {fresh}
