-- Everyone with a ticket for a performance in two days, who has not had the service mail about that performance.
-- Performances with the tick "block service mail" stay out.
select distinct person_id, performance_id
from crm.ticket
join crm.performance using (performance_id)
where starts_at::date = current_date + 2
  and not block_service_mail
  and {{ not_received("servicemails/servicemail", within="30 days", record="performance_id") }}
