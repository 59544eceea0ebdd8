-- Tickets per person and performance.
select person_id, performance_id, count(*) as tickets, sum(price) as amount, min(bought_at) as bought_at
from crm.ticket
group by all
