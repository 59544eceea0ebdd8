-- Who met this goal by something that happened since they entered has met it now.
update participant as p
set
    goal_at = %(now)s,
    goal = %(goal)s,
    due_at = case when %(leaves)s then %(now)s else p.due_at end,
    changed_tx = pg_current_xact_id()
from (
    select distinct w.participant_id
    from ({events}) as e
    join participant as w
        on w.flow_id = %(flow_id)s
        and w.person_id = e.person_id
        and w.version_id = %(version_id)s
        and w.left_at is null
        and w.goal_at is null
        and e.happened_at >= w.entered_at
    where {window}
) as met
where p.participant_id = met.participant_id
