-- DuckDB. How many rows a test found, and the first people among them. In braces: the test's own query.
with offending as materialized (
    select {person} as person_id from (
{query}
    ) as found
)
select
    (select count(*) from offending) as offending,
    (
        select coalesce(list(person_id order by person_id), [])
        from (select distinct person_id from offending where person_id is not null order by person_id limit {limit})
    ) as person_ids
