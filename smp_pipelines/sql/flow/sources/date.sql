-- Whose date comes near, or has passed by so many days. base: the day whose anniversary it is; part: month and day of
-- the dates that fall on it, 29 February on 28 February in years without it.
insert into flow_candidate (person_id, record_id, entry_key)
select distinct on (d.moment, s.person_id) s.person_id, null::bigint, 'date:' || %(field)s || ':' || d.day
from unnest(%(day)s::date[], %(moment)s::timestamptz[], %(base)s::date[], %(part)s::integer[])
    as d (day, moment, base, part)
join {table} as s
    on (extract(month from {date}) * 100 + extract(day from {date}))::integer = d.part and {falls}
where s.person_id is not null and {fresh}
order by d.moment, s.person_id
