-- Postgres. Put addresses on the suppression list, once each, as they are compared; who is on it already stays as they
-- are. In one order, so that two who add the same ones do not wait for each other. Says how many there were, how
-- many of them are new.
with wanted as (
    select distinct lower(btrim(written)) as email_key
    from unnest(%(addresses)s::text[]) as written
),
added as (
    insert into crm.suppression (email_key, reason, since)
    select w.email_key, %(reason)s, %(now)s
    from wanted as w
    where not exists (select from crm.suppression as s where lower(btrim(s.email_key)) = w.email_key)
    order by w.email_key
    on conflict (email_key) do nothing
    returning email_key
),
noted as (
    insert into smp.suppression_change (address, change, reason, changed_at, changed_by)
    select md5(email_key)::uuid, 'added', %(reason)s, %(now)s, %(by)s
    from added
)
select (select count(*) from wanted), (select count(*) from added)
