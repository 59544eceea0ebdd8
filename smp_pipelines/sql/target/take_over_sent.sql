-- Postgres. Everybody whom a step's sends selected so far, mailed or not, for another step (F53).
insert into smp_target_incoming (step, person_id, record_id, linked, source)
select distinct %(step)s, m.person_id, case when %(with_record)s then m.record_id end, true, %(source)s
from smp.send as s
join smp.message as m using (send_id)
where s.step = %(from)s and s.purpose = 'live' and s.state <> 'planning' and m.reason is distinct from 'used_in_campaign'
