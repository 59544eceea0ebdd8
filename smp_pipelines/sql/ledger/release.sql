-- Give back rows that were claimed and certainly not handed to the provider.
update smp.message
set state = 'planned', claim_token = null, lease_until = null, attempts = attempts - 1
where send_id = %(send_id)s and recipient_key = any (%(keys)s::uuid[]) and claim_token = %(token)s and state = 'claimed'
