-- Who waits for a page that they saw since they entered goes on. Looked at is everybody with a new hit of such a page.
update participant as p
set due_at = %(now)s, changed_tx = pg_current_xact_id()
from (
    select distinct s.person_id
    from smp.hit as s
    where s.person_id is not null and s.kind = 'page' and s.step = any (%(steps)s) and {fresh}
    offset 0
) as c
cross join lateral (
    select h.step, h.happened_at from smp.hit_class_1 as h
    where h.person_id = c.person_id and h.kind = 'page' and h.class = 'person' and h.step = any (%(steps)s)
    offset 0
) as e
join flow_node as n on n.version_id = %(version_id)s and n.kind = 'page' and n.step = e.step
where p.flow_id = %(flow_id)s
  and p.person_id = c.person_id
  and p.version_id = %(version_id)s
  and p.node = n.node
  and p.left_at is null
  and (p.due_at is null or p.due_at > %(now)s)
  and e.happened_at >= p.entered_at
