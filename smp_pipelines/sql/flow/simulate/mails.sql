-- Postgres. Mails per local day and node: sent, and stopped by the frequency cap.
select
    (happened_at at time zone %(zone)s)::date as day,
    node,
    count(*) filter (where missed is null) as sent,
    count(missed) as capped
from trigger_event
group by 1, 2
order by 1, 2
