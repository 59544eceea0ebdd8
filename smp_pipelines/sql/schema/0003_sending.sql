-- Sending with many workers: quick ways to the rows that are open, shared limits, and the audit of what people decide.

-- One way to the rows that can be taken up (fresh ones first, in their order; then those put off, by their
-- moment) and one to the claims, by their lease: neither walks past the other's rows.
drop index smp.message_open;
create index message_planned on smp.message (send_id, retry_at nulls first, seq) where state = 'planned';
create index message_claimed on smp.message (send_id, lease_until) where state = 'claimed';
create index message_unknown on smp.message (send_id, seq) where state = 'unknown';

-- A rate that all workers keep together. A worker that wants n mails moves free_at by n / rate and may
-- hand them over from the old free_at on; nobody else gets that time. Mails for which there is no room soon
-- wait for a place behind queued_until, so that they do not all come back at once.
create table smp.rate_limit (
    transport    text not null,
    scope        text not null,
    free_at      timestamptz not null default '-infinity',
    queued_until timestamptz not null default '-infinity',
    primary key (transport, scope)
);
comment on table smp.rate_limit is 'When the next mail may leave, per transport and recipient domain (scope * is the whole transport)';

-- An unknown row that a person, or a transport that can look it up, has settled.
create table smp.resolution (
    resolution_id bigint generated always as identity primary key,
    send_id       bigint not null,
    recipient_key uuid not null,
    to_state      smp.message_state not null check (to_state in ('accepted', 'rejected', 'planned')),
    resolved_at   timestamptz not null,
    resolved_by   text not null check (btrim(resolved_by) <> ''),
    evidence      text not null
);
create index resolution_send on smp.resolution (send_id);
comment on table smp.resolution is 'Audit: who said what became of a mail of which nobody knew, when and on what evidence';

-- What people did with a send as a whole.
create table smp.send_change (
    change_id  bigint generated always as identity primary key,
    send_id    bigint not null references smp.send (send_id),
    change     text not null check (change in ('cancelled')),
    messages   bigint not null,
    changed_at timestamptz not null,
    changed_by text not null check (btrim(changed_by) <> ''),
    reason     text
);
create index send_change_send on smp.send_change (send_id);
comment on table smp.send_change is 'Audit: who cancelled what was left of a send, when and why';

-- A colleague's verdict on a record that an internal send showed (F27).
create table smp.record_decision (
    decision_id bigint generated always as identity primary key,
    step        text not null,
    record      text not null,
    record_id   bigint not null,
    decision    text not null check (decision in ('approved', 'blocked')),
    decided_at  timestamptz not null,
    person_id   bigint,
    decided_by  text not null,
    changed     boolean not null default false
);
create index record_decision_record on smp.record_decision (record, record_id, decision_id desc);
comment on table smp.record_decision is 'Audit: which colleague approved or blocked which record after a preview mail';
comment on column smp.record_decision.changed is
    'Whether it set or took away the tick of the record. A tick that was set in the CRM itself is not taken away';

-- Changes of the suppression list. The address itself is in crm.suppression only; here is its md5.
create table smp.suppression_change (
    change_id  bigint generated always as identity primary key,
    address    uuid not null,
    change     text not null check (change in ('added', 'removed')),
    reason     text not null,
    changed_at timestamptz not null,
    changed_by text not null check (btrim(changed_by) <> ''),
    send_id    bigint
);
create index suppression_change_address on smp.suppression_change (address);
comment on table smp.suppression_change is 'Audit of the suppression list: when an address came on or off it, by whom or by which send, and why';

-- An internal send is planned from two selections: the colleagues, and the records that they check (F26).
alter table smp.send add column records_run_id bigint references smp.selection_run (selection_run_id);
comment on column smp.send.records_run_id is 'Internal sends: the selection of records, every one of which each colleague got';
