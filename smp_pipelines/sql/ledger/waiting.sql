-- What is left of a send: how many rows, and from when one of them can be taken up.
select count(*), min(case state when 'planned' then coalesce(retry_at, %(now)s) else lease_until end)
from smp.message
where send_id = %(send_id)s and state in ('planned', 'claimed')
