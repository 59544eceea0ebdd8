-- Postgres. Moves everybody who is at one of these places to a step of another version, in one statement; gives how many
-- moved from which version and step. Who would receive a mail again stays, unless that is wanted. A step that is the same
-- keeps the moment they arrived; `judged`: it is judged anew at the next tick, e.g. since its wait has another length.
with place as (
    select *
    from unnest(
        %(versions)s::bigint[], %(nodes)s::smallint[], %(targets)s::smallint[], %(stays)s::boolean[], %(judged)s::boolean[]
    ) as t (version_id, node, target, stays, judged)
),
ahead as (
    select * from unnest(%(ahead_of)s::smallint[], %(mails)s::text[]) as t (target, step)
),
goals as (
    select * from unnest(%(goal_versions)s::bigint[], %(goals)s::smallint[], %(new_goals)s::smallint[]) as t (version_id, goal, becomes)
),
chosen as materialized (
    select p.participant_id, p.version_id, p.node, p.arrived_at, place.target, place.stays, place.judged, g.becomes
    from smp.participant as p
    join place on place.version_id = p.version_id and place.node = p.node
    left join goals as g on g.version_id = p.version_id and g.goal = p.goal
    where p.left_at is null
      and (
          %(again)s
          or not exists (
              select from smp.participant_visit as v
              join smp.flow_node as n on n.version_id = v.version_id and n.node = v.node
              join ahead as a on a.step = n.step
              where v.participant_id = p.participant_id and v.note = 'sent' and a.target = place.target
          )
          -- what a card that was merged into theirs was sent is in the outbox only
          and not exists (
              select from smp.trigger_event as e
              join ahead as a on a.step = e.step
              where e.participant_id = p.participant_id and e.missed is null and a.target = place.target
          )
      )
),
visited as (
    insert into smp.participant_visit (participant_id, version_id, node, arrived_at, left_at, way, note)
    select participant_id, version_id, node, arrived_at, %(now)s, 'next', 'applied' from chosen where not stays
),
moved as (
    update smp.participant as p
    set version_id = %(to)s,
        node = c.target,
        arrived_at = case when c.stays then p.arrived_at else %(now)s end,
        due_at = case when c.judged then %(now)s else p.due_at end,
        goal = c.becomes,
        -- what counted as success and does not any more, is none
        goal_at = case when c.becomes is not null then p.goal_at end,
        changed_tx = pg_current_xact_id()
    from chosen as c
    where c.participant_id = p.participant_id
    returning c.version_id, c.node
)
select version_id, node, count(*) from moved group by version_id, node
