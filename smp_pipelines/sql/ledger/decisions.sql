-- What was decided of a record for the mails of some steps, latest first.
select
    d.step, d.record, d.record_id, d.decision, d.decided_at, d.person_id,
    coalesce(nullif(concat_ws(' ', p.first_name, p.infix, p.last_name), ''), d.decided_by) as decided_by,
    d.changed
from smp.record_decision as d
left join crm.person as p using (person_id)
where d.record = %(record)s and d.record_id = %(record_id)s and d.step = any (%(steps)s)
order by d.decision_id desc
