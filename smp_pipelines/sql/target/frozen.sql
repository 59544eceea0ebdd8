-- DuckDB. The people of a frozen group who did not get the step yet; records count when the step has one.
select person_id, record_id as {record}
from temp.linked_member as l
where not exists (
    select 1
    from ({reached}) as r
    where r.person_id = l.person_id and (not {has_record} or r.record_id is not distinct from l.record_id)
)
