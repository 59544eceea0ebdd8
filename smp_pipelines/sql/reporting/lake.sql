-- DuckLake: what the ledger says, per person key (catalogue smp). No names, no addresses.
-- Files that are a sixth smaller than by default, and read twice as fast.
call crm.set_option('parquet_compression', 'lz4');
call crm.set_option('parquet_version', '2');
call smp.set_option('parquet_compression', 'lz4');
call smp.set_option('parquet_version', '2');

create schema if not exists smp.selections;
create schema if not exists smp.target_groups;

-- Up to where the tables of the CRM are copied.
create table if not exists crm.mirror_state (table_name varchar, watermark varchar, columns varchar);

create table if not exists smp.send (
    send_id bigint, send_key varchar, step varchar, campaign varchar, channel varchar, purpose varchar,
    moment timestamptz, state varchar, planned bigint, planned_at timestamptz, finished_at timestamptz
);

create table if not exists smp.message (
    send_id bigint, person_id bigint, record_id bigint, step varchar, campaign varchar, channel varchar,
    purpose varchar, moment timestamptz, outcome varchar, reason varchar, received boolean, settled_at timestamptz
);

create table if not exists smp.message_state (watermark varchar);

create table if not exists smp.reaction (
    person_id bigint, step varchar, campaign varchar, channel varchar, kind varchar, happened_at timestamptz,
    outcome varchar, record_id bigint, send_id bigint, submission_id bigint, link varchar, hits bigint
);

create table if not exists smp.reaction_state (watermark varchar);

create table if not exists smp.flow_metrics (
    campaign varchar, step varchar, day date, planned bigint, accepted bigint, rejected bigint, unknown bigint,
    skipped bigint, waiting bigint
);

create table if not exists smp.skip_metrics (
    campaign varchar, step varchar, day date, reason varchar, people bigint
);

create table if not exists smp.engagement (
    campaign varchar, step varchar, day date, kind varchar, people bigint, hits bigint
);

-- What selections read. A planned mail counts as received: it is about to leave. So does a mail to
-- the same address that went to somebody else (reason duplicate_address). What people did themselves is not received.
create or replace view smp.contact_moment as
select
    person_id, campaign, step, channel, 'sent' as kind, moment as happened_at, outcome, reason, received, record_id,
    send_id, null::bigint as submission_id, null::varchar as link
from smp.message
where purpose = 'live' and (outcome <> 'skipped' or received)
union all
select
    person_id, campaign, step, channel, kind, happened_at, outcome, null as reason, false as received, record_id,
    send_id, submission_id, link
from smp.reaction;

comment on table smp.send is 'Every send, as in the ledger';
comment on table smp.message is 'Every row of the ledger: who was selected and what became of it';
comment on table smp.reaction is 'What people did with mails, forms and pages; hits: how often, by people';
comment on view smp.contact_moment is
    'Every contact moment: sent mails, mails received at a shared address, and what people did with mails, forms and pages';
comment on table smp.flow_metrics is 'Per campaign, step and day: planned = accepted + rejected + unknown + skipped + waiting';
comment on table smp.skip_metrics is 'Per campaign, step and day: how many were skipped, rejected or unknown, by reason';
comment on table smp.engagement is 'Per campaign, step, day and kind: how many people did it for the first time that day, and how often they did in all';

-- Which version of these statements was run last.
create table if not exists smp.prepared (digest varchar);
