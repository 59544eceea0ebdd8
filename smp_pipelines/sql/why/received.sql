-- DuckDB. What these people received of these steps, and what others with the same address did. Lists of numbers and
-- text are written into the query: binding parameters would cost a command two seconds (DuckDB imports pandas).
with asked as (
    select person_id, email_key from {person} where person_id in ({people})
),
sharing as (
    select a.person_id, o.person_id as other
    from asked as a
    join {person} as o on o.email_key = a.email_key and o.person_id <> a.person_id
    union all
    select unnest([{people}]), unnest([{people}])
)
select s.person_id, m.step, m.happened_at, m.record_id, m.person_id
from sharing as s
join {moment} as m on m.person_id = s.other
where m.received and m.step in ({steps})
