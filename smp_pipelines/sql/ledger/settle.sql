-- Write down what the provider answered. Only whoever holds the token may; an answer that comes
-- after the lease (the row is `unknown` by then) is still the truth and resolves the row.
update smp.message as m
set state = o.state::smp.message_state,
    reason = o.reason,
    response = o.response,
    retry_at = o.retry_at,
    lease_until = null,
    claim_token = case when o.state = 'planned' then null else m.claim_token end,
    settled_at = case when o.state = 'planned' then null else %(now)s end
from unnest(%(keys)s::uuid[], %(states)s::text[], %(reasons)s::text[], %(responses)s::text[], %(retry_ats)s::timestamptz[])
    as o (recipient_key, state, reason, response, retry_at)
where m.send_id = %(send_id)s
  and m.recipient_key = o.recipient_key
  and m.claim_token = %(token)s
  and (m.state = 'claimed' or (m.state = 'unknown' and o.state <> 'planned'))
