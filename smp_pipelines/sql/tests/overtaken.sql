-- Postgres. The first send of the same step and purpose that was planned after a send and that no audience test stopped.
select later.send_id
from smp.send as s
join smp.send as later on later.step = s.step and later.purpose = s.purpose and later.send_id > s.send_id
where s.send_id = %(send_id)s
  and later.state <> 'planning'
  and not exists (select from smp.audience_stop as p where p.send_id = later.send_id)
order by later.send_id
limit 1
