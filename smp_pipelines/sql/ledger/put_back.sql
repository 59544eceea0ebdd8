-- Give back rows that were claimed and not begun, until their turn comes: a limit has no room for them now.
with held as (
    select m.place, b.retry_at
    from unnest(%(keys)s::uuid[], %(retry_ats)s::timestamptz[]) as b (recipient_key, retry_at)
    cross join lateral (
        select ctid as place
        from smp.message
        where send_id = %(send_id)s
          and recipient_key = b.recipient_key
          and claim_token = %(token)s
          and state = 'claimed'
        for update
    ) as m
)
update smp.message as m
set state = 'planned', reason = null, claim_token = null, lease_until = null, attempts = m.attempts - 1,
    retry_at = h.retry_at
from held as h
where m.ctid = h.place
