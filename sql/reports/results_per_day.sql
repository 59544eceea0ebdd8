-- Mails per day and step, latest day first.
select day, step, planned, accepted, skipped
from flow_metrics
order by day desc, step
