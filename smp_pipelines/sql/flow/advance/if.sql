judged as materialized (
    select
        here.*,
        case when met.person_id is null then 'no' else 'yes' end as way,
        null::text as note,
        arrived_at as moment,
        case when met.person_id is null then %(no)s else %(yes)s end::smallint as next,
        null::timestamptz as due_at,
        null::text as outcome,
        null::text as reason
    from here
    left join (select distinct person_id from flow_yes) as met using (person_id)
)
