-- DuckLake, catalogue smp: what the ledger says, per person key. No names, no addresses.
-- Files that are a sixth smaller than by default, and read twice as fast.
call crm.set_option('parquet_compression', 'lz4');
call crm.set_option('parquet_version', '2');
call smp.set_option('parquet_compression', 'lz4');
call smp.set_option('parquet_version', '2');

create schema if not exists smp.selections;
create schema if not exists smp.target_groups;

create table if not exists smp.send (
    send_id bigint, send_key varchar, step varchar, campaign varchar, channel varchar, purpose varchar,
    moment timestamptz, state varchar, planned bigint, planned_at timestamptz, finished_at timestamptz
);

create table if not exists smp.message (
    send_id bigint, person_id bigint, record_id bigint, step varchar, campaign varchar, channel varchar,
    purpose varchar, moment timestamptz, outcome varchar, reason varchar, received boolean, settled_at timestamptz
);

create table if not exists smp.message_state (watermark varchar);

-- What selections read. A planned mail counts as received: it is about to leave. So does a mail to
-- the same address that went to somebody else (reason duplicate_address).
create or replace view smp.contact_moment as
select
    person_id, campaign, step, channel, 'sent' as kind, moment as happened_at, outcome, reason, received, record_id, send_id
from smp.message
where purpose = 'live' and (outcome <> 'skipped' or received);

comment on table smp.send is 'Every send, as in the ledger';
comment on table smp.message is 'Every row of the ledger: who was selected and what became of it';
comment on view smp.contact_moment is 'Every contact moment: sent mails, and mails received at a shared address';
