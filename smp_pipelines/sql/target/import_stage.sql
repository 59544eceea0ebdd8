-- Postgres. The rows of a file of contacts as they were read, and the steps that they may name: by the name of the
-- campaign or of its folder, and by the number or the name of the step, all in small letters.
create temp table smp_group_row (
    line     bigint not null,
    campaign text,
    number   text,
    contact  text,
    linked   text,
    record   text,
    fault    text,
    original text,
    fields   text[] not null
) on commit drop;
create temp table smp_group_step (
    campaign text not null,
    number   text not null,
    step     text not null,
    frozen   boolean not null,
    record   text,
    primary key (campaign, number)
) on commit drop
