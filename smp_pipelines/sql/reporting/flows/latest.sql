-- DuckLake. The figures of each step that anybody came to, for a table to look at.
select
    flow, version, step, came, waiting, went_on, dropped, reached_goal, delivered, bounced, opened, clicked, unsubscribed
from smp.flow_step
where came > 0
order by flow, version desc, place
limit 100
