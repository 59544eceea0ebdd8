-- Whoever is at a step that cannot be done stays there until it is tried again.
insert into flow_stay (participant_id, node, arrived_at, due_at)
select participant_id, node, arrived_at, %(due_at)s from flow_at where node = %(node)s
