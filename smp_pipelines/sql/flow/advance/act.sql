judged as materialized (
    select
        checked.*,
        case when dropped is null then 'next' else 'none' end as way,
        dropped as note,
        %(now)s::timestamptz as moment,
        %(next)s::smallint as next,
        null::timestamptz as due_at,
        case when dropped is not null then 'dropped' end as outcome,
        dropped as reason
    from checked
)
