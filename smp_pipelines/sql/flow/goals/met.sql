-- Who meets the condition of this goal has met it now.
update participant as p
set
    goal_at = %(now)s,
    goal = %(goal)s,
    due_at = case when %(leaves)s then %(now)s else p.due_at end,
    changed_tx = pg_current_xact_id()
from flow_yes as y
where p.flow_id = %(flow_id)s
  and p.person_id = y.person_id
  and p.version_id = %(version_id)s
  and p.left_at is null
  and p.goal_at is null
