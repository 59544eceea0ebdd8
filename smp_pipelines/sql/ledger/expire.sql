-- A claim whose lease has passed: nobody knows whether the mail left. It is never sent again by itself. A row that its
-- worker is writing about just now is left to it.
with passed as (
    select ctid as place
    from smp.message
    where send_id = %(send_id)s and state = 'claimed' and lease_until < %(now)s
    for update skip locked
)
update smp.message as m
set state = 'unknown', reason = 'lease_expired', settled_at = %(now)s
from passed
where m.ctid = passed.place
