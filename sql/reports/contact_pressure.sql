-- How many mails people got in the past 30 days: the frequency of frequencies.
with per_person as (
    select person_id, count(*) as mails
    from contact_moments
    where outcome = 'accepted' and happened_at > now() - interval 30 days
    group by person_id
)
select mails, count(*) as people
from per_person
group by mails
order by mails
