judged as materialized (
    select
        here.*,
        (part - 1)::text as way,
        null::text as note,
        arrived_at as moment,
        (%(ways)s::smallint[])[part] as next,
        null::timestamptz as due_at,
        null::text as outcome,
        null::text as reason
    from here
    cross join lateral (
        select 1 + width_bucket(
            ('x' || left(md5(%(salt)s || ':' || person_id), 8))::bit(32)::bigint %% 100, %(bounds)s::bigint[]
        ) as part
    ) as drawn
)
