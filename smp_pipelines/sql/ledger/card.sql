select s.moment, s.step, m.record_id, m.state::text, m.reason
from smp.message as m
join smp.send as s using (send_id)
where m.person_id = %(person_id)s and s.purpose = 'live'
order by s.moment desc, s.send_id desc
limit 200
