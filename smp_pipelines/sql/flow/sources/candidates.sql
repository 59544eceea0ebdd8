-- Events become candidates, each once, in the order in which they happened.
insert into flow_candidate (person_id, record_id, entry_key)
select person_id, record_id, entry_key
from (
    select distinct on (person_id, entry_key) person_id, record_id, entry_key, happened_at
    from ({events}) as e
    where happened_at >= %(since)s and {window}
    order by person_id, entry_key, happened_at
) as once
order by happened_at, person_id, entry_key
