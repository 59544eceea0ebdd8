-- Postgres. Mails that were accepted, over the time of a send: one row per step of the clock, empty ones too,
-- with at most 120 rows. `busy` and `in_busy` are the same in every row: the seconds in which the send was at
-- work, and the mails of those seconds. From the planning on, a pause of more than a minute (a night, a stop,
-- a mail that was put off) is no work.
with settled as (
    select settled_at, count(*) filter (where state = 'accepted') as accepted
    from smp.message
    where send_id = %(send_id)s and state in ('accepted', 'rejected', 'unknown') and settled_at is not null
    group by settled_at
),
gaps as (
    select
        settled_at,
        accepted,
        settled_at - coalesce(
            lag(settled_at) over (order by settled_at),
            (select planned_at from smp.send where send_id = %(send_id)s)
        ) as gap
    from settled
),
span as (
    select
        min(settled_at) as first_at,
        max(settled_at) as last_at,
        coalesce(extract(epoch from sum(gap) filter (where gap <= interval '1 minute')), 0)::float8 as busy,
        coalesce(sum(accepted) filter (where gap <= interval '1 minute'), 0)::bigint as in_busy
    from gaps
),
clock as (
    select min(seconds) * interval '1 second' as step
    from span, unnest(array[1, 2, 5, 10, 30, 60, 300, 900, 3600, 21600, 86400, 604800, 2592000]) as seconds
    where extract(epoch from last_at - first_at) / seconds < 119
),
ticks as (
    select generate_series(date_bin(step, first_at, 'epoch'), last_at, step) as begins_at, step from span, clock
),
counted as (
    select date_bin(step, settled_at, 'epoch') as begins_at, sum(accepted)::bigint as accepted
    from settled, clock
    group by 1
)
select
    ticks.begins_at,
    extract(epoch from ticks.step)::float8 as seconds,
    coalesce(counted.accepted, 0) as accepted,
    span.busy,
    span.in_busy
from ticks
cross join span
left join counted using (begins_at)
order by ticks.begins_at
