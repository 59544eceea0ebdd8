-- Which towns were reached: people, people reached, and the share of them.
select
    coalesce(city, '(unknown)') as city,
    count(*) as people,
    count(mails) as reached,
    round(100.0 * count(mails) / count(*), 1) as reached_percent
from people left join reached_people using (person_id)
group by all
order by people desc
limit 25
