-- What is on and what was: one row per performance, with the tickets sold.
select
    performance_id, title, genre, hall, company, starts_at, block_service_mail,
    count(ticket_id) as tickets, coalesce(sum(price), 0) as amount
from crm.performance left join crm.ticket using (performance_id)
group by all
