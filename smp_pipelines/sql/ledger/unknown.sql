-- The mails of which nobody knows whether they left, oldest send first.
select m.send_id, m.recipient_key, m.seq, m.person_id, m.record_id, coalesce(m.reason, ''), m.settled_at, m.response
from smp.message as m
where m.state = 'unknown'
  and (%(send_id)s::bigint is null or m.send_id = %(send_id)s)
order by m.send_id, m.seq
limit %(limit)s
