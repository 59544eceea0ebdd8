-- How many people opened, clicked or unsubscribed, by step of these versions. Only those are looked at of whom there is
-- anything: telling people from scanners costs a tenth of a millisecond each.
with mailed as materialized (
    select e.version_id, e.node, e.send_id, e.person_id
    from smp.trigger_event as e
    where e.version_id = any (%(versions)s) and e.send_id is not null
),
touched as materialized (
    select h.send_id, h.person_id from smp.hit as h
    where h.person_id is not null and h.send_id in (select send_id from mailed)
    union
    select u.send_id, u.person_id from smp.unsubscription as u
    where u.send_id in (select send_id from mailed)
)
select m.version_id, m.node, r.kind, count(distinct m.person_id) as people
from mailed as m
join touched as t using (send_id, person_id)
cross join lateral (
    select kind from smp.reaction as r where r.person_id = t.person_id and r.send_id = t.send_id and r.channel = 'email'
    offset 0
) as r
group by m.version_id, m.node, r.kind
