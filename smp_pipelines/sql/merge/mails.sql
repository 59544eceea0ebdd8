-- Postgres. The rows of the ledger that these people have, in one walk through it: it has no way in by person.
-- once: of such a send everybody gets one mail, whatever it is about.
create temp table smp_merge_mail on commit drop as
select
    m.send_id,
    m.recipient_key,
    m.person_id,
    coalesce(k.smp_new, m.person_id) as new_id,
    m.state,
    s.step = any (%(once)s::text[]) as once,
    m.record_id
from smp.message as m
join smp.send as s using (send_id)
left join smp_merge as k on k.smp_old = m.person_id
where m.person_id in (select id from smp_merge_id)
