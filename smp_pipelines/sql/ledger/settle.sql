-- Write down what the provider answered. Only whoever holds the token may; an answer that comes
-- after the lease (the row is `unknown` by then) is still the truth and resolves the row.
with answer as (
    select *
    from unnest(
        %(keys)s::uuid[], %(states)s::text[], %(reasons)s::text[], %(responses)s::text[], %(retry_ats)s::timestamptz[]
    ) as a (recipient_key, state, reason, response, retry_at)
),
held as (
    select m.recipient_key, m.state = 'unknown' as late
    from smp.message as m
    join answer as a on a.recipient_key = m.recipient_key
    where m.send_id = %(send_id)s
      and m.claim_token = %(token)s
      and (m.state = 'claimed' or (m.state = 'unknown' and m.reason = 'lease_expired'))
    for update of m
)
update smp.message as m
set state = a.state::smp.message_state,
    reason = a.reason,
    response = a.response,
    retry_at = a.retry_at,
    lease_until = null,
    claim_token = case when a.state = 'planned' then null else m.claim_token end,
    settled_at = case when a.state = 'planned' then null else %(now)s end
from answer as a
join held as h on h.recipient_key = a.recipient_key
where m.send_id = %(send_id)s and m.recipient_key = a.recipient_key
returning h.late
