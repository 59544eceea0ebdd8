-- The identity (X3) per send: planned = accepted + rejected + unknown + skipped once it is finished;
-- no row is missing and none is left in a state that is not final.
select
    s.send_id,
    s.send_key,
    s.state,
    s.planned,
    count(m.send_id) as in_ledger,
    count(*) filter (where m.state = 'accepted') as accepted,
    count(*) filter (where m.state = 'rejected') as rejected,
    count(*) filter (where m.state = 'unknown') as unknown,
    count(*) filter (where m.state = 'skipped') as skipped,
    count(*) filter (where m.state in ('planned', 'claimed')) as open
from smp.send as s
left join smp.message as m using (send_id)
where %(send_id)s::bigint is null or s.send_id = %(send_id)s
group by s.send_id
order by s.send_id
