-- A page of the participants of a flow, the latest first: all, those of one person, or those who are at one step now;
-- each with the last mail that the flow asked for.
with page as materialized (
    select *
    from smp.participant
    where flow_id = %(flow_id)s
      and (%(before)s::bigint is null or participant_id < %(before)s)
      and (%(person_id)s::bigint is null or person_id = %(person_id)s)
      and (%(version_id)s::bigint is null or version_id = %(version_id)s)
      and (%(node)s::smallint is null or (node = %(node)s and left_at is null))
      and (not %(waiting)s or left_at is null)
    order by participant_id desc
    limit %(most)s
)
select
    p.participant_id, p.person_id, p.record_id, p.version_id, p.node, p.entered_at, p.entered_by, p.round,
    p.arrived_at, p.due_at, p.goal_at, p.goal, p.left_at, p.outcome, p.reason,
    mail.step, mail.happened_at, mail.state, mail.why
from page as p
left join lateral (
    select e.step, e.happened_at, e.state, e.why
    from ({mail}) as e
    where e.participant_id = p.participant_id
    order by e.event_id desc
    limit 1
) as mail on true
order by p.participant_id desc
