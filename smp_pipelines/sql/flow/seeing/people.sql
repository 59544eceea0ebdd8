-- How many participants of a flow are, or were last, at which step of which version, and how they left: one walk over them.
select version_id, node, left_at is null as waits, outcome, reason, goal_at is not null as met_goal, count(*) as people
from smp.participant
where flow_id = %(flow_id)s
group by version_id, node, left_at is null, outcome, reason, goal_at is not null
