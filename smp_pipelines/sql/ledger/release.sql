-- Give back rows that were claimed and certainly not handed to the provider. Whoever holds the token
-- knows that, even when the lease has passed and the row was taken for lost meanwhile.
with held as (
    select m.*
    from unnest(%(keys)s::uuid[]) as k (recipient_key)
    cross join lateral (
        select ctid as place, state = 'unknown' as late
        from smp.message
        where send_id = %(send_id)s
          and recipient_key = k.recipient_key
          and claim_token = %(token)s
          and (state = 'claimed' or (state = 'unknown' and reason = 'lease_expired'))
        for update
    ) as m
)
update smp.message as m
set state = 'planned', reason = null, settled_at = null, claim_token = null, lease_until = null,
    attempts = m.attempts - 1
from held as h
where m.ctid = h.place
returning h.late
