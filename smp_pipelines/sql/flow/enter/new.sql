-- The candidates whose event was not judged before, in the order in which they came.
create temporary table flow_new as
select c.person_id, (array_agg(c.record_id order by c.ctid))[1] as record_id, c.entry_key, min(c.ctid) as place
from flow_candidate as c
where not exists (
    select from participant as p
    where p.flow_id = %(flow_id)s and p.entry_key = c.entry_key and p.person_id = c.person_id
)
and not exists (
    select from flow_refusal as r
    where r.flow_id = %(flow_id)s and r.entry_key = c.entry_key and r.person_id = c.person_id
)
group by c.person_id, c.entry_key
