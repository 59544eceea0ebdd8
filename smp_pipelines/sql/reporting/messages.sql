-- Postgres. The rows of the sends that changed since the watermark, for the mirror.
select
    m.send_id,
    m.person_id,
    m.record_id,
    s.step,
    split_part(s.step, '/', 1) as campaign,
    'email' as channel,
    s.purpose,
    s.moment,
    case m.state when 'claimed' then 'planned' else m.state::text end as outcome,
    m.reason,
    m.state in ('planned', 'claimed', 'accepted', 'unknown')
    or (
        m.duplicate_of is not null
        and exists (
            select 1 from smp.message as w
            where w.send_id = m.send_id and w.recipient_key = m.duplicate_of
              and w.state in ('planned', 'claimed', 'accepted', 'unknown')
        )
    ) as received,
    m.settled_at
from smp.message as m
join smp.send as s on s.send_id = m.send_id
where s.state = 'open' or s.changed_tx >= {watermark}::xid8
