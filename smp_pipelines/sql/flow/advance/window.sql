judged as materialized (
    select
        here.*,
        case when %(is_open)s then 'next' end as way,
        null::text as note,
        %(now)s::timestamptz as moment,
        %(next)s::smallint as next,
        %(opens)s::timestamptz as due_at,
        null::text as outcome,
        null::text as reason
    from here
)
