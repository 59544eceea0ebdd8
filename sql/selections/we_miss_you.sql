-- Everyone who bought tickets before but none in the past 365 days, and has not had this mail in the past 180 days.
select person_id
from crm.ticket
where {{ not_received("we_miss_you/we_miss_you", within="180 days") }}
group by person_id
having max(bought_at) < now() - interval '365 days'
