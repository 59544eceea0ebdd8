-- Sends that are not finished and with which there is something to do now, oldest first: rows are
-- still to be planned, a row can be claimed, a lease has passed, or nothing is left, so that it can be finished.
select s.send_id, s.send_key, s.step, s.purpose, s.moment, s.state, s.planned, s.selection_run_id
from smp.send as s
where s.state <> 'finished'
  and (
      s.state = 'planning'
      or not (
          exists (select from smp.message as m where m.send_id = s.send_id and m.state = 'planned')
          or exists (select from smp.message as m where m.send_id = s.send_id and m.state = 'claimed')
      )
      or exists (
          select from smp.message as m
          where m.send_id = s.send_id and m.state = 'planned' and (m.retry_at is null or m.retry_at <= %(now)s)
      )
      or exists (
          select from smp.message as m where m.send_id = s.send_id and m.state = 'claimed' and m.lease_until < %(now)s
      )
  )
order by s.send_id
