-- DuckDB, lake. The people and tickets of a large CRM, made from the small one that is there: every person is one of
-- its people again with another number and address, and one in twenty has the address of the person before.
insert into crm.person by name
with numbers as (
    select n as person_id, n - (n % 20 = 0)::integer as owner
    from range(getvariable('bench_templates') + 1, getvariable('bench_people') + 1) as t (n)
)
select
    p.* replace (
        n.person_id as person_id,
        n.owner || '.' || p.email as email,
        n.owner || '.' || p.email_key as email_key,
        false as internal_test
    )
from numbers as n
join crm.person as p on p.person_id = 1 + n.owner % getvariable('bench_templates');

set variable bench_performances = (select list(performance_id order by performance_id) from crm.performance);

-- Tickets of six years, in the order in which they were bought; people with a low number buy more often.
insert into crm.ticket by name
select
    10000000000 + n as ticket_id,
    1 + floor(getvariable('bench_people') * pow(hash(n) % 1000000007 / 1000000007.0, 3))::bigint as person_id,
    getvariable('bench_performances')[1 + (hash(n, 'what') % len(getvariable('bench_performances')))::bigint] as performance_id,
    'A' || n % 400 as seat,
    (15 + n % 40)::decimal(10, 2) as price,
    getvariable('bench_now') - to_seconds((getvariable('bench_tickets') - n) * 189216000 // getvariable('bench_tickets')) as bought_at
from range(getvariable('bench_tickets')) as t (n);
