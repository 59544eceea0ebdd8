-- A web shop's CRM: people and their orders. Consent and suppression are there for every send.

create table crm.person (
    person_id     bigint primary key,
    first_name    text,
    last_name     text not null,
    salutation    text,
    email         text,
    email_key     text generated always as (nullif(lower(btrim(email)), '')) stored,
    blocked       boolean not null default false,
    internal_test boolean not null default false,
    created_at    timestamptz not null
);
comment on table crm.person is 'Customers: one row per customer';

create table crm.consent (
    person_id  bigint not null references crm.person (person_id) on delete cascade,
    channel    text not null,
    topic      text not null,
    granted    boolean not null,
    changed_at timestamptz not null,
    source     text not null,
    wording    text,
    primary key (person_id, channel, topic)
);
comment on table crm.consent is 'What a customer allows';

create table crm.suppression (
    email_key text primary key,
    reason    text not null,
    since     timestamptz not null
);
comment on table crm.suppression is 'Addresses that are never mailed';

create table crm."order" (
    order_id   bigint primary key,
    person_id  bigint not null references crm.person (person_id) on delete cascade,
    ordered_on date not null,
    cds        integer not null,
    amount     numeric(10, 2) not null
);
create index order_person on crm."order" (person_id);
comment on table crm."order" is 'Orders: one row per transaction';
