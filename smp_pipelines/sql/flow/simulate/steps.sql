-- Postgres. Per node: who came there, who is there still, how long those who went on were there (seconds: the middle one
-- and the longest), and which way they went.
with gone as (
    select
        node,
        count(*) as people,
        percentile_cont(0.5) within group (order by extract(epoch from left_at - arrived_at)) as middle,
        max(extract(epoch from left_at - arrived_at)) as longest
    from participant_visit
    group by node
),
waiting as (
    select node, count(*) as people from participant where left_at is null group by node
),
ways as (
    select node, jsonb_object_agg(words, people) as ways
    from (
        select node, case when note is null or way in ('yes', 'no') then way else note end as words, count(*) as people
        from participant_visit
        group by 1, 2
    ) as counted
    group by node
)
select
    node,
    coalesce(g.people, 0) + coalesce(w.people, 0) as came,
    coalesce(w.people, 0) as waiting,
    g.middle::float8,
    g.longest::float8,
    coalesce(y.ways, '{}')
from gone as g
full join waiting as w using (node)
left join ways as y using (node)
order by node
