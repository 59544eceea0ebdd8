-- The identity (X3) per send: planned = accepted + rejected + unknown + skipped once it is finished;
-- no row is missing and none is left in a state that is not final. Rows without their send show up, too.
select
    send_id,
    coalesce(s.send_key, 'no such send') as send_key,
    coalesce(s.state, 'finished') as state,
    coalesce(s.planned, 0) as planned,
    count(m.recipient_key) as in_ledger,
    count(*) filter (where m.state = 'accepted') as accepted,
    count(*) filter (where m.state = 'rejected') as rejected,
    count(*) filter (where m.state = 'unknown') as unknown,
    count(*) filter (where m.state = 'skipped') as skipped,
    count(*) filter (where m.state in ('planned', 'claimed')) as open
from smp.send as s
full join smp.message as m using (send_id)
where %(send_id)s::bigint is null or send_id = %(send_id)s
group by send_id, s.send_key, s.state, s.planned
order by send_id
