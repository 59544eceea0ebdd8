-- Take people of this version who are due, the longest due first. Whoever met a goal that ends the flow for them leaves.
with taken as materialized (
    select participant_id, person_id, record_id, entered_at, node, arrived_at, goal_at is not null and %(leaves)s as leaves
    from participant
    where flow_id = %(flow_id)s and version_id = %(version_id)s and left_at is null and due_at <= %(now)s
      -- whoever pauses a flow is heard at the next sweep
      and not exists (select from smp.flow where flow_id = %(flow_id)s and state not in ('live', 'ending'))
    order by due_at, participant_id
    limit %(most)s
),
visited as (
    insert into participant_visit (participant_id, version_id, node, arrived_at, left_at, way, note)
    select participant_id, %(version_id)s, node, arrived_at, %(now)s, 'none', 'goal' from taken where leaves
),
left_ as (
    insert into flow_stay (participant_id, node, arrived_at, left_at, outcome, reason)
    select participant_id, node, arrived_at, %(now)s, case when %(moves_to)s::text is null then 'goal' else 'moved' end, %(moves_to)s
    from taken
    where leaves
),
arrived as (
    insert into flow_at (participant_id, person_id, record_id, entered_at, node, arrived_at)
    select participant_id, person_id, record_id, entered_at, node, arrived_at from taken where not leaves
)
select case when leaves then -1 else node end, count(*) from taken group by 1
