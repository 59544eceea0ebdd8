-- DuckDB. The people of a frozen group who did not get the step yet.
select person_id, record_id as {record}
from temp.linked_member as l
where not exists (
    select 1 from smp.contact_moment as c
    where c.step = {step} and c.person_id = l.person_id and c.record_id is not distinct from l.record_id
)
