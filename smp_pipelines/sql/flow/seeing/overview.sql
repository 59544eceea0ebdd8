-- Every flow that somebody touched, with its figures.
select
    f.flow,
    f.state::text as state,
    f.since,
    v.number,
    coalesce(p.enrolled, 0) as enrolled,
    coalesce(p.waiting, 0) as waiting,
    coalesce(p.succeeded, 0) as succeeded,
    coalesce(a.people, 0)::bigint as asked
from smp.flow as f
left join smp.flow_version as v using (version_id)
left join (
    select
        flow_id,
        count(*) as enrolled,
        count(*) filter (where left_at is null) as waiting,
        count(*) filter (where goal_at is not null and outcome in ('completed', 'goal', 'moved')) as succeeded
    from smp.participant
    group by flow_id
) as p on p.flow_id = f.flow_id
left join (
    select flow_id, sum(people) as people from smp.flow_admission where answer is null group by flow_id
) as a on a.flow_id = f.flow_id
order by f.flow
