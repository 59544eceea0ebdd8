-- Postgres. Of rows that would come under one key, one stays: by `first` if the table has such a rule, else the row that
-- the surviving person has already. The names in braces are identifiers, and what Postgres itself says of an index.
delete from {table} as gone
using (
    select
        kept.ctid as place,
        row_number() over (
            partition by coalesce(smp_new, {column}){parts} order by {first} (smp_new is not null), {column}
        ) as nth
    from {table} as kept
    left join smp_merge on smp_old = {column}
    where {column} in (select id from smp_merge_id) {condition}
) as ranked
where ranked.nth > 1 and gone.ctid = ranked.place
