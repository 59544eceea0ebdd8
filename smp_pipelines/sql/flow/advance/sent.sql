,
sent as (
    insert into trigger_event (step, person_id, record_id, cause, happened_at, participant_id, version_id, node)
    select %(step)s, person_id, case when %(with_record)s then record_id end, 'flow', %(now)s, participant_id, %(version_id)s, %(node)s
    from judged
    where note = 'sent' and way = 'next'
    order by participant_id
    on conflict do nothing
)
