-- Every contact moment of a person, the latest first: mails from the ledger, and what they did themselves.
select s.moment as happened_at, s.step, 'sent' as kind, m.record_id, m.state::text as outcome, m.reason, null as link, m.send_id
from smp.message as m
join smp.send as s using (send_id)
where m.person_id = %(person_id)s and s.purpose = 'live'
union all
select r.happened_at, r.step, r.kind, r.record_id, r.outcome, null, r.link, r.send_id
from smp.reaction as r
where r.person_id = %(person_id)s
order by happened_at desc, send_id desc nulls first, kind
limit 200
