-- What people did, and no scanner, at a step. Whose a hit is depends on the others of that person, so that everybody
-- with a new one is looked at; `offset 0` keeps the look-up by person to itself. A program clicks all links within a
-- second: what is younger than that is judged at a later look. What a clock that runs ahead wrote is judged at once.
select
    s.person_id,
    {record}::bigint as record_id,
    {key} as entry_key,
    s.happened_at
from (
    select distinct s.person_id
    from smp.hit as s
    where s.person_id is not null
      and s.step = %(step)s
      and s.kind = any (%(kinds)s)
      and s.happened_at >= %(since)s
      and {fresh}
    offset 0
) as c
cross join lateral (
    select * from smp.hit_class_1 as s
    where s.person_id = c.person_id and s.step = %(step)s and s.kind = any (%(kinds)s) and s.happened_at >= %(since)s
    offset 0
) as s
left join smp.send as m on m.send_id = s.send_id
where s.class = 'person'
  and coalesce(m.purpose, 'live') = 'live'
  and (%(link)s::text is null or s.link = %(link)s)
  and (s.happened_at <= %(settled)s or s.happened_at > %(ahead)s)
