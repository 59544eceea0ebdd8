-- The ledger: what was decided, sent and answered. Holds person keys only, no addresses.

create type smp.status as enum ('concept', 'testing', 'live', 'stopped');
create type smp.message_state as enum ('planned', 'claimed', 'accepted', 'rejected', 'unknown', 'skipped');

-- Whether a step runs (F23). What a step is, is in the project's files.
create table smp.step_status (
    step   text primary key,
    status smp.status not null,
    since  timestamptz not null
);

create table smp.step_status_change (
    change_id   bigint generated always as identity primary key,
    step        text not null,
    from_status smp.status not null,
    to_status   smp.status not null,
    changed_at  timestamptz not null,
    changed_by  text not null,
    reason      text
);
comment on table smp.step_status_change is 'Audit: who changed the status of a step, when, from what to what and why';

-- One row per time that a selection was materialised; the people are in the lake, at this snapshot.
create table smp.selection_run (
    selection_run_id bigint generated always as identity primary key,
    selection        text not null,
    moment           timestamptz not null,
    run_id           text,
    snapshot_id      bigint not null,
    row_count        bigint not null,
    address_count    bigint not null,
    seen             pg_snapshot not null
);
comment on column smp.selection_run.seen is 'The ledger as the selection knew it: what is not visible in it, it has not seen';
create index selection_run_latest on smp.selection_run (selection, selection_run_id desc);

create table smp.send (
    send_id          bigint generated always as identity primary key,
    send_key         text not null unique,
    step             text not null,
    purpose          text not null check (purpose in ('live', 'internal', 'test')),
    moment           timestamptz not null,
    state            text not null default 'planning' check (state in ('planning', 'open', 'finished')),
    selection_run_id bigint references smp.selection_run (selection_run_id),
    planned          bigint not null default 0,
    run_id           text,
    opened_at        timestamptz not null,
    planned_at       timestamptz,
    finished_at      timestamptz,
    changed_tx       xid8 not null default pg_current_xact_id()
);
create index send_step on smp.send (step, moment desc);
create index send_changed on smp.send (changed_tx);
comment on table smp.send is 'One row per send: a step at a moment. The key makes a tick that runs twice one send';

create table smp.message (
    send_id       bigint not null,
    recipient_key uuid not null,
    seq           integer not null,
    person_id     bigint not null,
    record_id     bigint,
    state         smp.message_state not null,
    reason        text,
    duplicate_of  uuid,
    attempts      smallint not null default 0,
    retry_at      timestamptz,
    claim_token   uuid,
    lease_until   timestamptz,
    settled_at    timestamptz,
    response      text,
    primary key (send_id, recipient_key)
);
create index message_open on smp.message (send_id, seq) where state in ('planned', 'claimed');
comment on table smp.message is 'The ledger: one row per send and recipient key, skipped people included';
comment on column smp.message.send_id is
    'The send in smp.send. No foreign key: checked row by row, it doubles the time of planning; smp ledger verify checks it';
comment on column smp.message.recipient_key is
    'De-duplicated: the md5 of the compared e-mail address; otherwise of person and linked record';
comment on column smp.message.duplicate_of is 'The recipient key of the person with the same address who gets the mail';
