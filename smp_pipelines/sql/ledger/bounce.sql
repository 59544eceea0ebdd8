-- Postgres. Addresses that a mail server refused for good because they do not exist go on the suppression list. In one
-- order, so that workers whose batches hold the same addresses do not wait for each other.
with bounced as (
    select distinct lower(btrim(mailed)) as email_key
    from unnest(%(addresses)s::text[]) as mailed
),
added as (
    insert into crm.suppression (email_key, reason, since)
    select b.email_key, 'hard_bounce', %(now)s
    from bounced as b
    where not exists (select from crm.suppression as s where lower(btrim(s.email_key)) = b.email_key)
    order by b.email_key
    on conflict (email_key) do nothing
    returning email_key
)
insert into smp.suppression_change (address, change, reason, changed_at, changed_by, send_id)
select md5(email_key)::uuid, 'added', 'hard_bounce', %(now)s, 'smp', %(send_id)s
from added
