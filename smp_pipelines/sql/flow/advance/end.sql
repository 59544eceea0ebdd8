judged as materialized (
    select
        here.*,
        'none' as way,
        null::text as note,
        arrived_at as moment,
        -1::smallint as next,
        null::timestamptz as due_at,
        'completed' as outcome,
        %(reason)s::text as reason
    from here
)
