-- The latest decision per record for the mail of a step, latest first, with what is so now.
-- The names in braces are quoted identifiers from the project's files.
select d.record_id, r.{title}::text as title, coalesce({block}, false) as blocked,
    d.decision, d.decided_at,
    coalesce(nullif(concat_ws(' ', p.first_name, p.infix, p.last_name), ''), d.decided_by) as decided_by
from (
    select distinct on (record_id) *
    from smp.record_decision
    where record = %(record)s and step = %(step)s
    order by record_id, decision_id desc
) as d
left join crm.person as p using (person_id)
left join {table} as r on r.{key} = d.record_id
order by d.decision_id desc
limit %(limit)s
