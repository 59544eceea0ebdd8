-- What became of each mail that a flow asked for: it waits, was accepted, rejected or skipped, and why. The message is
-- found by its recipient key, which is at hand; the whole send is searched only for who has another address since.
select
    e.event_id,
    e.participant_id,
    e.version_id,
    e.node,
    e.step,
    e.send_id,
    coalesce(m.settled_at, e.happened_at) as happened_at,
    case
        when e.missed is not null then 'skipped'
        when m.state is null or m.state in ('planned', 'claimed') then 'waiting'
        else m.state::text
    end as state,
    coalesce(m.reason, e.missed) as why
from smp.trigger_event as e
left join crm.person as c on c.person_id = e.person_id
left join smp.message as k
    on k.send_id = e.send_id
    and k.person_id = e.person_id
    and k.recipient_key = any (array[
        md5('address:' || c.email_key), md5('row:' || e.person_id || ':' || coalesce(e.record_id::text, '')),
        md5('row:' || e.person_id || ':')
    ]::uuid[])
left join lateral (
    select s.state, s.reason, s.settled_at
    from smp.message as s
    where s.send_id = e.send_id and s.person_id = e.person_id and k.send_id is null
    limit 1
) as s on true
cross join lateral (
    select
        coalesce(k.state, s.state) as state, coalesce(k.reason, s.reason) as reason,
        coalesce(k.settled_at, s.settled_at) as settled_at
) as m
