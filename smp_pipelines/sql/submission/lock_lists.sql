-- One at a time makes lists, when one of these is missing.
select pg_advisory_xact_lock(hashtextextended('smp lists of forms', 0))
where exists (
    select from unnest(%(names)s::text[]) as wanted (name)
    where not exists (select from crm.list where list.name = wanted.name)
)
