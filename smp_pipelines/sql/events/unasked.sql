-- Postgres. Sends that took events and that no run has begun to plan, behind the last one that was asked for.
select s.send_id, s.send_key, s.step, s.purpose, s.moment, s.state, s.planned, s.selection_run_id
from smp.send as s
where s.state = 'planning'
  and s.run_id is null
  and s.send_id > %(after)s
  and exists (select from smp.trigger_event as e where e.send_id = s.send_id)
order by s.send_id
