-- The steps that a participant left, in their order, each with the mail that it asked for.
select v.version_id, v.node, v.arrived_at, v.left_at, v.way, v.note, e.send_id, e.state as mail, e.why
from smp.participant_visit as v
left join ({mail}) as e
    on e.participant_id = v.participant_id and e.version_id = v.version_id and e.node = v.node
where v.participant_id = %(participant_id)s
order by v.left_at, v.arrived_at, v.version_id, v.node
