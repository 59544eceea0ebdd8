-- The foreign keys and plain indexes of some (empty) tables of schema crm: the statement that drops
-- each, and the one that makes it again. Checking and indexing many rows at once takes a fraction of
-- the time that it takes row by row. Only non-unique indexes: the others are rules, not speed.
-- Parameter: the names of the tables.
select
    concat('alter table ', conrelid::regclass, ' drop constraint ', quote_ident(conname)) as drop_statement,
    concat('alter table ', conrelid::regclass, ' add constraint ', quote_ident(conname), ' ', pg_get_constraintdef(oid))
        as create_statement
from pg_constraint
where contype = 'f' and conrelid = any (%(tables)s::regclass[])
union all
select concat('drop index ', indexrelid::regclass), pg_get_indexdef(indexrelid)
from pg_index
where not indisunique and indrelid = any (%(tables)s::regclass[])
order by drop_statement
