judged as materialized (
    select
        here.*,
        case when later <= %(now)s then 'next' end as way,
        null::text as note,
        later as moment,
        %(next)s::smallint as next,
        later as due_at,
        null::text as outcome,
        null::text as reason
    from here
    cross join lateral (
        -- so long, or until then
        select greatest(smp.later(arrived_at, %(days)s, %(rest)s, %(zone)s), %(until)s::timestamptz) as later
    ) as waited
)
