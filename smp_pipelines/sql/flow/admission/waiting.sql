-- The question about a source that is open, or was answered and not acted upon.
select a.admission_id, f.flow, a.source, a.people, a.asked_at, a.answer
from flow_admission as a
join smp.flow as f using (flow_id)
where a.flow_id = %(flow_id)s and a.source = %(source)s and a.taken_at is null
order by a.admission_id desc
limit 1
