-- Confirm what waits for it, once.
update smp.submission
set confirmed_at = %(now)s, changed_tx = pg_current_xact_id()
where submission_key = any (%(keys)s) and awaits_confirmation and confirmed_at is null
returning submission_key
