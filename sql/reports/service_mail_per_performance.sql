-- Per coming performance: ticket holders, and how many of them got the service mail.
select
    p.starts_at, p.title, p.hall, p.block_service_mail,
    count(distinct t.person_id) as ticket_holders,
    count(distinct c.person_id) as mailed
from performances p
left join ticket_sales t using (performance_id)
left join contact_moments c on c.record_id = p.performance_id and c.person_id = t.person_id and c.outcome = 'accepted'
where p.starts_at between now() - interval 7 days and now() + interval 7 days
group by all
order by p.starts_at, p.title
