-- Flows: how many came to each step, wait there and dropped out, what became of its mails, and how many reached a goal (F48).
select
    s.flow, s.version, s.step, s.kind, s.came, s.waiting, s.went_on, s.dropped, s.reached_goal,
    s.delivered, s.bounced, s.opened, s.clicked, s.unsubscribed, r.success_percent
from flow_step as s
left join flow_result as r using (flow, version)
order by s.flow, s.version desc, s.place
