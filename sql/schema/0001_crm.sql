-- The CRM of the theatre: what is known of people and what they did. Every table in schema crm
-- is mirrored to the lake, is an asset in Dagster and can be read by selections. A table needs a
-- primary key and a comment; a new table is a new numbered file in this folder.

create table crm.organisation (
    organisation_id bigint primary key,
    name            text not null,
    kind            text not null,
    city            text,
    created_at      timestamptz not null
);
comment on table crm.organisation is 'Companies, schools, associations and funds that people belong to';

create table crm.person (
    person_id       bigint primary key,
    first_name      text,
    infix           text,
    last_name       text not null,
    salutation      text,
    email           text,
    email_key       text generated always as (nullif(lower(btrim(email)), '')) stored,
    phone           text,
    language        text not null default 'nl',
    birth_date      date,
    street          text,
    house_number    text,
    postal_code     text,
    city            text,
    organisation_id bigint references crm.organisation (organisation_id),
    blocked         boolean not null default false,
    internal_test   boolean not null default false,
    created_at      timestamptz not null
);
create index person_email_key on crm.person (email_key);
comment on table crm.person is 'People: one row per person card';
comment on column crm.person.email_key is 'The e-mail address as it is compared: trimmed, lower case';
comment on column crm.person.salutation is 'How a letter opens, e.g. Beste Anna; empty when unknown';
comment on column crm.person.blocked is 'Never contact this person';
comment on column crm.person.internal_test is 'A colleague who may get test mails';

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
comment on table crm.consent is 'What a person allows, per channel and topic, with where and in what words it was asked';

create table crm.suppression (
    email_key text primary key,
    reason    text not null,
    since     timestamptz not null
);
-- lists of others come in any case
create index suppression_compared on crm.suppression (lower(btrim(email_key)));
comment on table crm.suppression is 'Addresses that are never mailed: hard bounces, complaints, by hand';

create table crm.performance (
    performance_id     bigint primary key,
    title              text not null,
    genre              text not null,
    hall               text not null,
    starts_at          timestamptz not null,
    duration_minutes   integer not null,
    company            text,
    block_service_mail boolean not null default false
);
comment on table crm.performance is 'What is on: one row per performance';
comment on column crm.performance.block_service_mail is 'Tick to keep the service mail before this performance from being sent';

create table crm.ticket (
    ticket_id      bigint primary key,
    person_id      bigint not null references crm.person (person_id) on delete cascade,
    performance_id bigint not null references crm.performance (performance_id),
    seat           text,
    price          numeric(10, 2) not null,
    bought_at      timestamptz not null
);
create index ticket_person on crm.ticket (person_id);
comment on table crm.ticket is 'Tickets bought: one row per seat';

create table crm.donation (
    donation_id bigint primary key,
    person_id   bigint not null references crm.person (person_id) on delete cascade,
    fund        text not null,
    action      text,
    amount      numeric(10, 2) not null,
    donated_at  timestamptz not null
);
create index donation_person on crm.donation (person_id);
comment on table crm.donation is 'Donations, by fund and action';

create table crm.membership (
    membership_id bigint primary key,
    person_id     bigint not null references crm.person (person_id) on delete cascade,
    kind          text not null,
    starts_on     date not null,
    ends_on       date
);
create index membership_person on crm.membership (person_id);
comment on table crm.membership is 'Friends of the theatre; without an end date: still a member';

create table crm.list (
    list_id     bigint primary key,
    name        text not null,
    description text
);
comment on table crm.list is 'Lists of people that colleagues keep by hand';

create table crm.list_member (
    list_id   bigint not null references crm.list (list_id) on delete cascade,
    person_id bigint not null references crm.person (person_id) on delete cascade,
    added_at  timestamptz not null,
    primary key (list_id, person_id)
);
comment on table crm.list_member is 'Who is on which list';
