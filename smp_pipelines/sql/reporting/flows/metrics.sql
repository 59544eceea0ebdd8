-- DuckLake. Figures per step of every version of every flow, and why people dropped out where.
delete from smp.flow_dropout;
insert into smp.flow_dropout by name
select n.flow, n.version, n.node as place, n.step, coalesce(p.reason, 'dropped') as reason, count(*) as people
from smp.flow_participant as p
join smp.flow_node as n using (version_id, node)
where p.outcome = 'dropped'
group by all
order by n.flow, n.version, n.node, people desc;

delete from smp.flow_step;
insert into smp.flow_step by name
with here as (
    select
        version_id, node,
        count(*) filter (where left_at is null) as waiting,
        count(*) filter (where outcome = 'dropped') as dropped,
        count(*) filter (where outcome = 'goal') as reached_goal
    from smp.flow_participant
    group by all
),
gone as (
    select
        version_id, node, count(*) as people,
        count(*) filter (where way <> 'none') as went_on,
        count(*) filter (where note = 'sent') as asked_for,
        count(*) filter (where starts_with(note, 'skipped: ')) as refused
    from smp.flow_visit
    group by all
),
mailed as (
    select
        e.version_id, e.node,
        count(*) filter (where m.outcome = 'accepted') as delivered,
        count(*) filter (where m.outcome = 'rejected') as bounced,
        count(*) filter (where m.outcome = 'skipped') as skipped
    from smp.flow_mail as e
    join smp.message as m
        on m.send_id = e.send_id and m.person_id = e.person_id
        and (m.record_id is null or m.record_id is not distinct from e.record_id)
    group by all
),
did as (
    select
        e.version_id, e.node,
        count(distinct r.person_id) filter (where r.kind = 'opened') as opened,
        count(distinct r.person_id) filter (where r.kind = 'clicked') as clicked,
        count(distinct r.person_id) filter (where r.kind = 'unsubscribed') as unsubscribed
    from smp.flow_mail as e
    join smp.reaction as r on r.send_id = e.send_id and r.person_id = e.person_id
    where r.channel = 'email'
    group by all
)
select
    n.flow, n.version, n.node as place, n.step, n.title, n.kind,
    coalesce(g.people, 0) + coalesce(h.waiting, 0) as came,
    coalesce(h.waiting, 0) as waiting,
    coalesce(g.went_on, 0) as went_on,
    coalesce(h.dropped, 0) as dropped,
    coalesce(h.reached_goal, 0) as reached_goal,
    -- of a step that is no mail there is nothing to tell
    case when n.kind = 'mail' then coalesce(g.asked_for, 0) + coalesce(g.refused, 0) end as mails,
    case when n.kind = 'mail' then coalesce(g.refused, 0) + coalesce(m.skipped, 0) end as skipped,
    case when n.kind = 'mail' then coalesce(m.delivered, 0) end as delivered,
    case when n.kind = 'mail' then coalesce(m.bounced, 0) end as bounced,
    case when n.kind = 'mail' then coalesce(d.opened, 0) end as opened,
    case when n.kind = 'mail' then coalesce(d.clicked, 0) end as clicked,
    case when n.kind = 'mail' then coalesce(d.unsubscribed, 0) end as unsubscribed
from smp.flow_node as n
left join here as h using (version_id, node)
left join gone as g using (version_id, node)
left join mailed as m using (version_id, node)
left join did as d using (version_id, node)
order by n.flow, n.version, n.node;

delete from smp.flow_result;
insert into smp.flow_result by name
select
    flow, v.version,
    count(*) as enrolled,
    count(*) filter (where left_at is null) as waiting,
    count(*) filter (where outcome = 'completed') as completed,
    count(*) filter (where outcome = 'goal') as reached_goal,
    count(*) filter (where outcome = 'moved') as moved,
    count(*) filter (where outcome = 'dropped') as dropped,
    count(*) filter (where outcome = 'merged') as merged,
    count(*) filter (where goal_at is not null and outcome in ('completed', 'goal', 'moved')) as succeeded,
    round(100.0 * succeeded / enrolled, 1) as success_percent
from smp.flow_participant
join (select distinct version_id, version from smp.flow_node) as v using (version_id)
group by flow, v.version
order by flow, v.version;
