-- A colleague is one no longer: whatever they are signed in with, and every link to sign in, ends now.
with removed as (
    update smp.colleague
    set removed_at = %(now)s, removed_by = %(by)s
    where address = %(address)s and removed_at is null
    returning colleague_id
),
links as (
    delete from smp.sign_in where colleague_id in (select colleague_id from removed)
),
ended as (
    delete from smp.session where colleague_id in (select colleague_id from removed) returning 1
)
select (select count(*) from removed), (select count(*) from ended)
