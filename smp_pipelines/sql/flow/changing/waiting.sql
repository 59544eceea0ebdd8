-- Postgres. Who is in a flow, by version and step, with the step they would get; again: of them, who had a mail sent by
-- this flow before that lies at or behind that step (X9).
with place as (
    select * from unnest(%(versions)s::bigint[], %(nodes)s::smallint[], %(targets)s::smallint[]) as t (version_id, node, target)
),
ahead as (
    select * from unnest(%(ahead_of)s::smallint[], %(mails)s::text[]) as t (target, step)
),
here as (
    select p.participant_id, p.person_id, p.version_id, p.node, place.target
    from smp.participant as p
    left join place on place.version_id = p.version_id and place.node = p.node
    where p.left_at is null and p.version_id = any (%(known)s::bigint[])
),
again as (
    select distinct h.participant_id
    from here as h
    join ahead as a on a.target = h.target
    join smp.participant_visit as v on v.participant_id = h.participant_id and v.note = 'sent'
    join smp.flow_node as n on n.version_id = v.version_id and n.node = v.node and n.step = a.step
    union
    -- what a card that was merged into theirs was sent is in the outbox only
    select h.participant_id
    from here as h
    join ahead as a on a.target = h.target
    join smp.trigger_event as e on e.participant_id = h.participant_id and e.step = a.step and e.missed is null
)
select
    h.version_id,
    h.node,
    count(*),
    count(a.participant_id),
    case when %(with_people)s then array_agg(h.person_id order by h.person_id) filter (where a.participant_id is not null) end
from here as h
left join again as a using (participant_id)
group by h.version_id, h.node
order by h.version_id desc, h.node
