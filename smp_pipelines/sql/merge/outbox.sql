-- Postgres. What a participation that left was sent, or is about to be, counts for the one that stays: at the step of its
-- own version that sends the same mail. So it is not sent once more when that one gets there.
update smp.trigger_event as e
set participant_id = found.participant_id, version_id = found.version_id, node = found.node
from (
    select distinct on (candidate.participant_id, candidate.node) candidate.*
    from (
        select distinct on (o.event_id) o.event_id, s.participant_id, s.version_id, n.node
        from smp_merge_participant as m
        join smp.trigger_event as o on o.participant_id = m.participant_id
        join smp.participant as s on s.participant_id = m.stays
        join smp.flow_node as n on n.version_id = s.version_id and n.kind = 'mail' and n.step = o.step
        where not exists (
            select from smp.trigger_event as t
            where t.participant_id = s.participant_id and t.version_id = n.version_id and t.node = n.node
        )
        order by o.event_id, n.node <> o.node, n.node
    ) as candidate
    order by candidate.participant_id, candidate.node, candidate.event_id
) as found
where found.event_id = e.event_id
