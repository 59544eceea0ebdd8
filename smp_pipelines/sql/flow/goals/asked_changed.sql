-- Who is on the way, met no goal yet, and has rows that changed, or entered at the last look or after it.
create temporary table flow_asked as
select p.person_id
from (select distinct person_id from ({changed}) as c offset 0) as changed
join participant as p on p.flow_id = %(flow_id)s and p.person_id = changed.person_id
where p.version_id = %(version_id)s and p.left_at is null and p.goal_at is null
union
select p.person_id
from participant as p
where p.changed_tx >= %(mark)s::xid8
  and p.entered_at >= %(looked_at)s
  and p.version_id = %(version_id)s
  and p.left_at is null
  and p.goal_at is null
