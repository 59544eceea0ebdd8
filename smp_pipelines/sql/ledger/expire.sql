-- A claim whose lease has passed: nobody knows whether the mail left. It is never sent again by itself.
update smp.message
set state = 'unknown', reason = 'lease_expired', settled_at = %(now)s
where send_id = %(send_id)s and state = 'claimed' and lease_until < %(now)s
