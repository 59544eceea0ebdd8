-- Postgres. The sends that changed since the watermark, for the mirror.
select
    send_id, send_key, step, split_part(step, '/', 1) as campaign, 'email' as channel, purpose,
    moment, state, planned, planned_at, finished_at
from smp.send
where state = 'open' or changed_tx >= {watermark}::xid8
