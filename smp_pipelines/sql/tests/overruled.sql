-- Postgres. The tests that were overruled on the way to a send: those that stopped the send whose place it takes, and
-- the ones before that.
with recursive before as (
    select send_id from smp.audience_overrule where new_send_id = %(send_id)s
    union
    select o.send_id from smp.audience_overrule as o join before as b on o.new_send_id = b.send_id
)
select selection, test from smp.audience_stop join before using (send_id)
