-- Postgres. Participations move to the new person; whoever is in a flow twice leaves with the later one, and the path says so.
with moved as (
    update smp.participant as p
    set person_id = m.new_id,
        round = -1 - p.round,
        due_at = case when m.stays is null then p.due_at end,
        left_at = case when m.stays is null then p.left_at else %(now)s end,
        outcome = case when m.stays is null then p.outcome else 'merged' end,
        changed_tx = pg_current_xact_id()
    from smp_merge_participant as m
    where m.participant_id = p.participant_id
    returning p.participant_id, p.version_id, p.node, p.arrived_at, m.moves, m.stays
),
path as (
    insert into smp.participant_visit (participant_id, version_id, node, arrived_at, left_at, way, note)
    select participant_id, version_id, node, arrived_at, %(now)s, 'none', 'merged' from moved where stays is not null
    on conflict do nothing
)
select count(*) filter (where moves), count(stays) from moved
