judged as materialized (
    select
        here.*,
        'next' as way,
        null::text as note,
        arrived_at as moment,
        %(next)s::smallint as next,
        null::timestamptz as due_at,
        null::text as outcome,
        null::text as reason
    from here
)
