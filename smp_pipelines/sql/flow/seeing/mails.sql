-- What became of the mails that the steps of these versions asked for. Who shared an address with another participant,
-- or was asked for twice at once, counts for each time that a step asked.
select
    e.version_id,
    e.node,
    case
        when e.missed is not null then 'skipped'
        when m.state is null or m.state in ('planned', 'claimed') then 'waiting'
        else m.state::text
    end as state,
    coalesce(m.reason, e.missed) as reason,
    count(*) as mails
from smp.trigger_event as e
left join smp.message as m
    on m.send_id = e.send_id
    and m.person_id = e.person_id
    and (m.record_id is null or m.record_id is not distinct from e.record_id)
where e.version_id = any (%(versions)s)
group by 1, 2, 3, 4
