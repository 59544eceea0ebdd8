-- The latest sends: when, how many, and how long they took.
select send_key, state, planned, planned_at, finished_at, finished_at - planned_at as took
from sends
order by send_id desc
limit 50
