-- Give back rows that were claimed and not begun, until their turn comes: a limit has no room for them now.
update smp.message as m
set state = 'planned', reason = null, claim_token = null, lease_until = null, attempts = m.attempts - 1,
    retry_at = b.retry_at
from unnest(%(keys)s::uuid[], %(retry_ats)s::timestamptz[]) as b (recipient_key, retry_at)
where m.send_id = %(send_id)s and m.recipient_key = b.recipient_key and m.claim_token = %(token)s and m.state = 'claimed'
