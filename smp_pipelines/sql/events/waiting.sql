-- Postgres. The events that no send took yet, by step: how many, since when, and whether their step is live.
select e.step, count(*), min(e.happened_at), coalesce(s.status::text, 'concept')
from smp.trigger_event as e
left join smp.step_status as s on s.step = e.step
where e.send_id is null and e.missed is null
group by e.step, s.status
order by e.step
