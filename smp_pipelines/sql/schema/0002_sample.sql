-- Which sample CRM was loaded into schema crm, so that loading it again does nothing.
create table smp.sample_load (
    people    bigint not null,
    seed      bigint not null,
    today     date not null,
    loaded_at timestamptz not null
);
comment on table smp.sample_load is 'The sample CRM that was loaded: how many people, from what seed, around which day';
