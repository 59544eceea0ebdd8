-- Postgres. The runs that a step's sends were planned from, of each selection the latest; not that of a send that an
-- audience test stopped and a person let go, nor that of the send which took its place.
with latest as (
    select distinct on (r.selection) s.send_id, s.selection_run_id
    from smp.send as s
    join smp.selection_run as r using (selection_run_id)
    where s.step = %(step)s and s.purpose = 'live' and s.state <> 'planning'
    order by r.selection, r.selection_run_id desc, s.send_id desc
)
select selection_run_id
from latest as l
where not exists (select from smp.audience_overrule as o where o.send_id = l.send_id)
  and (
      exists (select from smp.audience_stop as p where p.send_id = l.send_id)
      or not exists (select from smp.audience_overrule as o where o.new_send_id = l.send_id)
  )
