-- What is left of a send: how many rows, and from when one of them can be taken up.
select count(*), min(from_when)
from (
    select coalesce(retry_at, %(now)s) as from_when from smp.message where send_id = %(send_id)s and state = 'planned'
    union all
    select lease_until from smp.message where send_id = %(send_id)s and state = 'claimed'
) as open
