-- Turn the text of all rows into values, and say of each row what is wrong with it. Of the sound rows
-- with the same key, the first counts.
create table judged as
select *, nullif(concat_ws('; ', {faults}), '') as smp_reason
from (select *, {values} from raw);

create table duplicate as
select smp_line, first_line
from (
    select smp_line, min(smp_line) over (partition by {key}) as first_line from judged where smp_reason is null
)
where smp_line <> first_line;

create view accepted as
select smp_line, {names} from judged anti join duplicate using (smp_line) where smp_reason is null order by smp_line;
