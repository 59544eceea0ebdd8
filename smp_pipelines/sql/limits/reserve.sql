-- Take time on shared rates. Of what is wanted per scope, as much is granted as fits before the horizon; the rest is
-- given a place in the queue behind it. All workers go by the clock of this server, which is one.
with asked as (
    select * from unnest(%(scopes)s::text[], %(wanted)s::int[], %(gaps)s::float8[]) as a (scope, wanted, gap)
),
held as (
    select r.scope, greatest(r.free_at, clock_timestamp()) as free_at, r.queued_until, a.wanted, a.gap
    from smp.rate_limit as r
    join asked as a on a.scope = r.scope
    where r.transport = %(transport)s
    order by r.scope
    for update of r
),
counted as (
    select
        *,
        extract(epoch from free_at - clock_timestamp())::float8 as starts_in,
        least(
            wanted,
            greatest(0, ceil((%(horizon)s - extract(epoch from free_at - clock_timestamp())::float8) / gap)::int)
        ) as granted
    from held
),
placed as (
    select
        *,
        free_at + granted * gap * interval '1 second' as next_free_at,
        greatest(queued_until, free_at + granted * gap * interval '1 second') as queue_from
    from counted
)
update smp.rate_limit as r
set free_at = p.next_free_at,
    queued_until = p.queue_from + (p.wanted - p.granted) * p.gap * interval '1 second'
from placed as p
where r.transport = %(transport)s and r.scope = p.scope
returning p.scope, p.granted, p.starts_in, extract(epoch from p.queue_from - clock_timestamp())::float8
