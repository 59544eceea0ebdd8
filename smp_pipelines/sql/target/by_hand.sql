-- Postgres. People whom somebody links or unlinks by name: the rows that they have in the group, of all linked records
-- or of one; and a new row for who has none, where the step needs no record or one is given.
insert into smp_target_incoming (step, person_id, record_id, linked, source)
select %(step)s, g.person_id, coalesce(m.record_id, %(record)s), %(linked)s, %(source)s
from (select distinct unnest(%(people)s::bigint[]) as person_id) as g
left join smp.target_member as m
    on m.step = %(step)s and m.person_id = g.person_id and (%(record)s::bigint is null or m.record_id = %(record)s)
where m.step is not null or not %(needs_record)s or %(record)s::bigint is not null
returning person_id
