-- All rows that were not loaded: those that have no fields, have wrong values, come twice, or were
-- refused by Postgres because they refer to nothing.
create table rejected as
select smp_line, smp_reason, {raw}, smp_text from broken
union all
select smp_line, smp_reason, {raw}, null from judged where smp_reason is not null
union all
select smp_line, {same_key} || first_line, {raw}, null from judged join duplicate using (smp_line)
union all
select smp_line, r.smp_reason, {raw}, null from judged as j join refused as r using (smp_line);
