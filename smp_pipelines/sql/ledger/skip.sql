-- Whoever still waits gets no mail any more. Rows that a worker has in hand are its own.
update smp.message
set state = 'skipped', reason = %(reason)s, settled_at = %(now)s, retry_at = null
where send_id = %(send_id)s and state = 'planned'
