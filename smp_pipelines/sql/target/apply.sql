-- Postgres. Bring frozen groups in line with smp_target_incoming, and write down whom that changed. Who is in the group,
-- linked or not, only changes with `override`: people who were unlinked by hand stay out when a group is linked again.
with fresh as (
    select distinct on (i.step, i.person_id, coalesce(i.record_id, 0))
        i.step, i.person_id, i.record_id, i.linked, i.source
    from smp_target_incoming as i
    left join smp.target_member as m
        on m.step = i.step and m.person_id = i.person_id and coalesce(m.record_id, 0) = coalesce(i.record_id, 0)
    where m.step is null or (%(override)s and m.linked <> i.linked)
    order by i.step, i.person_id, coalesce(i.record_id, 0), i.place
),
written as (
    insert into smp.target_member (step, person_id, record_id, linked, source, since)
    select step, person_id, record_id, linked, source, %(now)s::timestamptz from fresh
    on conflict (step, person_id, coalesce(record_id, 0))
    do update set linked = excluded.linked, source = excluded.source, since = excluded.since
),
changed as (
    insert into smp.target_change (step, source, reason, changed_at, changed_by)
    select step, source, %(reason)s::text, %(now)s::timestamptz, %(by)s::text
    from fresh group by step, source order by step, source
    returning change_id, step, source
),
noted as (
    insert into smp.target_change_member (change_id, person_id, record_id, linked)
    select c.change_id, f.person_id, f.record_id, f.linked
    from fresh as f join changed as c using (step, source)
)
select count(*) filter (where linked), count(*) filter (where not linked) from fresh
