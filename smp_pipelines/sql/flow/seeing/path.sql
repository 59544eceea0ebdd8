-- The steps that a participant left, in their order, each with the mail that it asked for.
select
    v.version_id,
    v.node,
    v.arrived_at,
    v.left_at,
    v.way,
    v.note,
    e.send_id,
    case
        when e.event_id is null then null
        when e.missed is not null then 'skipped'
        when m.state is null or m.state in ('planned', 'claimed') then 'waiting'
        else m.state::text
    end as mail,
    coalesce(m.reason, e.missed) as why
from smp.participant_visit as v
left join smp.trigger_event as e
    on e.participant_id = v.participant_id and e.version_id = v.version_id and e.node = v.node
-- by its recipient key, which is at hand; the whole send is searched only for who has another address since
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
where v.participant_id = %(participant_id)s
order by v.left_at, v.arrived_at, v.version_id, v.node
