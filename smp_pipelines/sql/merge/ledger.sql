-- Postgres. Mails of the old person are the new one's. Where both are in one send, what has left, or is leaving, stays;
-- of what is planned one row goes on at most. The keys of rows stay: the links in the mails that were sent hold them.
-- The sends count as changed, so that whoever read them for exclusion reads them again, and the lake and reports follow.
with ranked as (
    select
        send_id,
        recipient_key,
        person_id,
        new_id,
        state = 'planned'
        and row_number() over (
            partition by send_id, new_id, case when once then null else record_id end, state in ('rejected', 'skipped')
            order by state = 'planned', person_id <> new_id, recipient_key
        ) > 1 as too_many
    from smp_merge_mail
),
written as (
    update smp.message as m
    set person_id = r.new_id,
        state = case when r.too_many and m.state = 'planned' then 'skipped' else m.state end,
        reason = case when r.too_many and m.state = 'planned' then 'merged' else m.reason end,
        settled_at = case when r.too_many and m.state = 'planned' then %(now)s else m.settled_at end,
        retry_at = case when r.too_many and m.state = 'planned' then null else m.retry_at end
    from ranked as r
    where m.send_id = r.send_id
      and m.recipient_key = r.recipient_key
      and (r.too_many or r.person_id <> r.new_id)
    returning m.send_id, r.person_id <> r.new_id as moved, r.too_many
),
touched as (
    update smp.send set changed_tx = pg_current_xact_id() where send_id in (select send_id from written)
)
select count(*) filter (where moved), count(*) filter (where too_many) from written
