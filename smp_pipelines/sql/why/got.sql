-- DuckDB. What the ledger says of these people in sends of a step, the latest send first.
select m.person_id, m.send_id, s.send_key, m.moment, m.record_id, m.outcome, m.reason, m.settled_at
from {messages} as m
join smp.send as s using (send_id)
where m.step = {step} and m.purpose = {purpose} and m.person_id in ({people}) and m.moment <= {moment}
order by m.moment desc, m.send_id desc, m.record_id
