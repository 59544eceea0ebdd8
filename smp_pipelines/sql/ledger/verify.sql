-- The identity (X3) per send: planned = accepted + rejected + unknown + skipped once it is finished;
-- no row is missing and none is left in a state that is not final. Rows without their send show up, too.
-- Each side is cut down to the send that was asked for before they meet: a full join lets no condition through.
with counted as (
    select
        send_id,
        count(*) as in_ledger,
        count(*) filter (where state = 'accepted') as accepted,
        count(*) filter (where state = 'rejected') as rejected,
        count(*) filter (where state = 'unknown') as unknown,
        count(*) filter (where state = 'skipped') as skipped,
        count(*) filter (where state in ('planned', 'claimed')) as open
    from smp.message
    where %(send_id)s::bigint is null or send_id = %(send_id)s
    group by send_id
),
wanted as (
    select send_id, send_key, state, planned
    from smp.send
    where %(send_id)s::bigint is null or send_id = %(send_id)s
)
select
    send_id,
    coalesce(s.send_key, 'no such send') as send_key,
    coalesce(s.state, 'finished') as state,
    coalesce(s.planned, 0) as planned,
    coalesce(c.in_ledger, 0) as in_ledger,
    coalesce(c.accepted, 0) as accepted,
    coalesce(c.rejected, 0) as rejected,
    coalesce(c.unknown, 0) as unknown,
    coalesce(c.skipped, 0) as skipped,
    coalesce(c.open, 0) as open
from wanted as s
full join counted as c using (send_id)
order by send_id
