-- Postgres. A frozen group as it is, linked and unlinked, for another step (F53).
insert into smp_target_incoming (step, person_id, record_id, linked, source)
select %(step)s, person_id, case when %(with_record)s then record_id end, linked, %(source)s
from smp.target_member
where step = %(from)s
order by linked desc, person_id
