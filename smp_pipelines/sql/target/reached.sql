-- DuckDB. Whom a step reached already, about which record and when: everybody who was to be mailed, and with one mail
-- per address also whoever shares an address with somebody who received it (`via` is who did).
select person_id, record_id, happened_at, person_id as via
from {moment}
where step = {step} and kind = 'sent'
union all
select other.person_id, m.record_id, m.happened_at, m.person_id
from {moment} as m
join {person} as one on one.person_id = m.person_id
join {person} as other on other.email_key = one.email_key and other.person_id <> one.person_id
where {deduplicate} and m.step = {step} and m.received
