-- Postgres. Everybody who is in a flow leaves it where they are; gives how many. Mails that no send took yet do not go out.
with gone as (
    update smp.participant
    set left_at = %(now)s, due_at = null, outcome = 'dropped', reason = 'flow_ended', changed_tx = pg_current_xact_id()
    where flow_id = %(flow_id)s and left_at is null
    returning participant_id, version_id, node, arrived_at
),
visited as (
    insert into smp.participant_visit (participant_id, version_id, node, arrived_at, left_at, way, note)
    select participant_id, version_id, node, arrived_at, %(now)s, 'none', 'flow_ended' from gone
    on conflict do nothing
),
withdrawn as (
    update smp.trigger_event as e set missed = 'flow_ended'
    from gone as g
    where e.participant_id = g.participant_id and e.send_id is null and e.missed is null
)
select count(*) from gone
