judged as materialized (
    select
        checked.*,
        'none' as way,
        dropped as note,
        %(now)s::timestamptz as moment,
        -1::smallint as next,
        null::timestamptz as due_at,
        case when dropped is null then 'moved' else 'dropped' end as outcome,
        coalesce(dropped, %(to)s) as reason
    from checked
)
