-- Everyone who had a ticket for a performance of yesterday, and has not had the mail after it.
select distinct person_id, performance_id
from crm.ticket
join crm.performance using (performance_id)
where starts_at::date = current_date - 1
  and {{ not_received("feedback/aftermail", within="30 days", record="performance_id") }}
