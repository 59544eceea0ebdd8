-- Postgres. The participants who changed since the watermark, for the mirror.
select
    p.participant_id, f.flow, p.version_id, p.person_id, p.record_id, p.entered_by, p.entered_at, p.round, p.node,
    p.arrived_at, p.due_at, p.goal_at, p.goal, p.left_at, p.outcome, p.reason
from smp.participant as p
join smp.flow as f using (flow_id)
where p.changed_tx >= {watermark}::xid8
