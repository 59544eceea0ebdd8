-- Write down what the provider answered. Only whoever holds the token may; an answer that comes
-- after the lease (the row is `unknown` by then) is still the truth and resolves the row.
-- Row by row by its key (lateral), whatever the statistics say of a send that is only minutes old.
with answer as (
    select *
    from unnest(
        %(keys)s::uuid[], %(states)s::text[], %(reasons)s::text[], %(responses)s::text[], %(retry_ats)s::timestamptz[]
    ) as a (recipient_key, state, reason, response, retry_at)
),
held as (
    select a.*, m.place, m.late
    from answer as a
    cross join lateral (
        select ctid as place, state = 'unknown' as late
        from smp.message
        where send_id = %(send_id)s
          and recipient_key = a.recipient_key
          and claim_token = %(token)s
          and (state = 'claimed' or (state = 'unknown' and reason = 'lease_expired'))
        for update
    ) as m
)
update smp.message as m
set state = h.state::smp.message_state,
    reason = h.reason,
    response = h.response,
    retry_at = h.retry_at,
    lease_until = null,
    claim_token = case when h.state = 'planned' then null else m.claim_token end,
    settled_at = case when h.state = 'planned' then null else %(now)s end
from held as h
where m.ctid = h.place
returning h.late
