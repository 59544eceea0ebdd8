-- Postgres. Who went into whom. What led to somebody who goes now, leads to the one who stays.
with followed as (
    update smp.person_merge as p set new_id = m.smp_new, changed_tx = pg_current_xact_id()
    from smp_merge as m where p.new_id = m.smp_old
)
insert into smp.person_merge (old_id, new_id, merged_at, merged_by, reason)
select smp_old, smp_new, %(now)s, %(by)s, %(reason)s from smp_merge order by smp_old
on conflict (old_id) do update
set new_id = excluded.new_id, merged_at = excluded.merged_at, merged_by = excluded.merged_by, reason = excluded.reason,
    changed_tx = excluded.changed_tx
