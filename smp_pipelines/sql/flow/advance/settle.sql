-- Write to each participant where they ended up.
update participant as p
set node = s.node,
    arrived_at = s.arrived_at,
    due_at = s.due_at,
    left_at = s.left_at,
    outcome = s.outcome,
    reason = s.reason,
    changed_tx = pg_current_xact_id()
from flow_stay as s
where p.participant_id = s.participant_id and p.left_at is null
