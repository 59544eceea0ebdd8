-- Move people on from one step. `judged` says of each who is there: way (null: stays), note, moment (at which they go
-- on), next (the step behind; below 0: none), due_at (of who stays), outcome and reason (of who leaves the flow here).
-- Only inserts: where somebody ends up is written to the participant once, after the last step.
with here as (
    select * from flow_at where node = %(node)s
),
{judged}{acting},
visited as (
    insert into participant_visit (participant_id, version_id, node, arrived_at, left_at, way, note)
    select participant_id, %(version_id)s, %(node)s, arrived_at, moment, way, note from judged where way is not null
),
stayed as (
    insert into flow_stay (participant_id, node, arrived_at, due_at)
    select participant_id, %(node)s, arrived_at, due_at from judged where way is null
),
left_ as (
    insert into flow_stay (participant_id, node, arrived_at, left_at, outcome, reason)
    select participant_id, %(node)s, arrived_at, moment, coalesce(outcome, 'completed'), reason
    from judged
    where way is not null and (outcome is not null or next < 0)
),
rested as (
    insert into flow_stay (participant_id, node, arrived_at, due_at)
    select participant_id, next, moment, moment
    from judged
    where way is not null and outcome is null and next >= 0 and %(rests)s
),
moved as (
    insert into flow_at (participant_id, person_id, record_id, entered_at, node, arrived_at)
    select participant_id, person_id, record_id, entered_at, next, moment
    from judged
    where way is not null and outcome is null and next >= 0 and not %(rests)s
    returning node
)
select node, count(*) from moved group by node
