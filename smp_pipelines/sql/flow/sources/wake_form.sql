-- Who waits for a form that they submitted since they entered goes on.
update participant as p
set due_at = %(now)s, changed_tx = pg_current_xact_id()
from (
    select s.person_id, s.step, s.submitted_at as happened_at
    from smp.submission as s
    where s.step = any (%(steps)s) and {fresh}
    offset 0
) as e
join flow_node as n on n.version_id = %(version_id)s and n.kind = 'form' and n.step = e.step
where p.flow_id = %(flow_id)s
  and p.person_id = e.person_id
  and p.version_id = %(version_id)s
  and p.node = n.node
  and p.left_at is null
  and (p.due_at is null or p.due_at > %(now)s)
  and e.happened_at >= p.entered_at
