-- A form or a page: whoever did it since they entered goes on, and whoever waited long enough.
judged as materialized (
    select
        checked.*,
        case when dropped is not null then 'none' when done or later <= %(now)s then 'next' end as way,
        case when dropped is not null then dropped when done then %(done)s else 'timeout' end as note,
        %(now)s::timestamptz as moment,
        %(next)s::smallint as next,
        later as due_at,
        case when dropped is not null then 'dropped' end as outcome,
        dropped as reason
    from checked
    cross join lateral (
        select
            case when %(ends)s then smp.later(arrived_at, %(days)s, %(rest)s, %(zone)s) end as later,
            {done} as done
    ) as waited
)
