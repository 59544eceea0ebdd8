-- Postgres. What flows asked for in the sends that changed since the watermark, for the mirror.
select e.participant_id, e.version_id, e.node, e.send_id, e.person_id, e.record_id
from smp.send as s
join smp.trigger_event as e on e.send_id = s.send_id
where (s.state <> 'finished' or s.changed_tx >= {watermark}::xid8) and e.participant_id is not null
