-- Postgres. What has to be linked or unlinked, before it is compared with the groups as they are (apply.sql).
create temp table if not exists smp_target_incoming (
    place     bigint generated always as identity,
    step      text not null,
    person_id bigint not null,
    record_id bigint,
    linked    boolean not null,
    source    text not null
) on commit drop
