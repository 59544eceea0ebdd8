-- Postgres. The sound rows of a file of contacts, to be compared with the groups as they are (apply.sql).
insert into smp_target_incoming (step, person_id, record_id, linked, source)
select step, person_id, record_id, linked, %(source)s from smp_group_judged where reason is null order by line
