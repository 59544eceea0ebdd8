-- Per local day since a moment: how many entered a flow, how many left it, and how many met a goal.
with happened as (
    select entered_at as at, 'entered' as what from smp.participant where flow_id = %(flow_id)s and entered_at >= %(since)s
    union all
    select left_at, 'left' from smp.participant where flow_id = %(flow_id)s and left_at >= %(since)s
    union all
    select goal_at, 'goal' from smp.participant where flow_id = %(flow_id)s and goal_at >= %(since)s
)
select
    (at at time zone %(zone)s)::date as day,
    count(*) filter (where what = 'entered') as entered,
    count(*) filter (where what = 'left') as departed,
    count(*) filter (where what = 'goal') as goals
from happened
group by 1
order by 1
