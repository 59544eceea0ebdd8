-- Postgres. The steps that participants left since the watermark, for the mirror. Whatever writes a visit writes the
-- participant in the same transaction, so the visits need no index of their own by when they were written.
select v.participant_id, v.version_id, v.node, v.arrived_at, v.left_at, v.way, v.note
from smp.participant as p
join smp.participant_visit as v using (participant_id)
where p.changed_tx >= {watermark}::xid8 and v.changed_tx >= {watermark}::xid8
