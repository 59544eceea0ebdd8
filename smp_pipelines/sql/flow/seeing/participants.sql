-- A page of the participants of a flow, the latest first: all, those of one person, or those who are at one step now;
-- each with the last mail that the flow asked for.
with page as materialized (
    select *
    from smp.participant
    where flow_id = %(flow_id)s
      and (%(before)s::bigint is null or participant_id < %(before)s)
      and (%(person_id)s::bigint is null or person_id = %(person_id)s)
      and (%(version_id)s::bigint is null or version_id = %(version_id)s)
      and (%(node)s::smallint is null or (node = %(node)s and left_at is null))
      and (not %(waiting)s or left_at is null)
    order by participant_id desc
    limit %(most)s
)
select
    p.participant_id, p.person_id, p.record_id, p.version_id, p.node, p.entered_at, p.entered_by, p.round,
    p.arrived_at, p.due_at, p.goal_at, p.goal, p.left_at, p.outcome, p.reason,
    mail.step, mail.happened_at, mail.state, mail.why
from page as p
left join lateral (
    select
        e.step,
        coalesce(m.settled_at, e.happened_at) as happened_at,
        case
            when e.missed is not null then 'skipped'
            when m.state is null or m.state in ('planned', 'claimed') then 'waiting'
            else m.state::text
        end as state,
        coalesce(m.reason, e.missed) as why
    from smp.trigger_event as e
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
    where e.participant_id = p.participant_id
    order by e.event_id desc
    limit 1
) as mail on true
order by p.participant_id desc
