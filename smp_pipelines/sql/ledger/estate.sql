-- The rows that a worker which is gone still holds.
select recipient_key
from smp.message
where send_id = %(send_id)s and claim_token = %(token)s
  and (state = 'claimed' or (state = 'unknown' and reason = 'lease_expired'))
