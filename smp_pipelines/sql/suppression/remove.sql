-- Postgres. Take addresses off the suppression list, however they were written there.
with removed as (
    delete from crm.suppression
    where lower(btrim(email_key)) in (select lower(btrim(written)) from unnest(%(addresses)s::text[]) as written)
    returning lower(btrim(email_key)) as email_key
),
noted as (
    insert into smp.suppression_change (address, change, reason, changed_at, changed_by)
    select distinct md5(email_key)::uuid, 'removed', %(reason)s, %(now)s, %(by)s
    from removed
    returning address
)
select count(*) from noted
