-- Audiences: what a run of a selection read and changed, target groups of steps, audience tests.

-- A run can be looked at again as it was: its SQL, and the snapshots of both lake catalogues that it read.
alter table smp.selection_run
    add column crm_snapshot_id bigint,
    add column smp_snapshot_id bigint,
    add column sql text,
    add column entered bigint,
    add column departed bigint;
create index selection_run_moment on smp.selection_run (selection, moment desc, selection_run_id desc);
comment on column smp.selection_run.crm_snapshot_id is 'The mirror as the run read it: a snapshot of the lake''s catalogue crm';
comment on column smp.selection_run.smp_snapshot_id is
    'Contact moments and other selections as the run read them: a snapshot of the lake''s catalogue smp';
comment on column smp.selection_run.sql is 'The SQL that ran, with its clock in it: what asks for the present got the run''s moment';
comment on column smp.selection_run.entered is 'Rows that the run before did not have; null for a first run, or when the keys changed';
comment on column smp.selection_run.departed is 'Rows of the run before that this one does not have';

-- Frozen target groups (F57): who takes part in a step was laid down when its group was linked.
create table smp.target_group (
    step           text primary key,
    linked_at      timestamptz not null,
    linked_by      text not null check (btrim(linked_by) <> ''),
    selection_runs bigint[] not null default '{}'
);
comment on table smp.target_group is 'Steps with a frozen target group that was linked: when, and by whom. No row: not linked yet';
comment on column smp.target_group.selection_runs is
    'The runs of selections that it was linked from; what stops a send of those stops one of the group';

create table smp.target_member (
    step      text not null,
    person_id bigint not null,
    record_id bigint,
    linked    boolean not null,
    source    text not null,
    since     timestamptz not null
);
create unique index target_member_key on smp.target_member (step, person_id, coalesce(record_id, 0));
comment on table smp.target_member is 'Who is in a frozen target group, and (linked = false) who was taken out and stays out';
comment on column smp.target_member.source is 'Where it comes from: a selection''s run, another step, a file, or by hand';
comment on column smp.target_member.since is 'When it was linked, or unlinked';

create table smp.target_change (
    change_id  bigint generated always as identity primary key,
    step       text not null,
    source     text not null,
    reason     text,
    changed_at timestamptz not null,
    changed_by text not null check (btrim(changed_by) <> '')
);
create index target_change_step on smp.target_change (step, change_id desc);
comment on table smp.target_change is 'Audit of frozen target groups: who linked or unlinked people, when, from what and why';

create table smp.target_change_member (
    change_id bigint not null references smp.target_change (change_id),
    person_id bigint not null,
    record_id bigint,
    linked    boolean not null
);
create index target_change_member_change on smp.target_change_member (change_id);
create index target_change_member_person on smp.target_change_member (person_id);
comment on table smp.target_change_member is 'Audit of frozen target groups: whom a change linked or unlinked';

-- Audience tests (X5): what each found at a run, and the sends that failing ones stopped.
create table smp.audience_test_result (
    selection_run_id bigint not null references smp.selection_run (selection_run_id),
    selection        text not null,
    test             text not null,
    words            text not null,
    passed           boolean not null,
    blocking         boolean not null,
    offending        bigint not null,
    detail           text not null,
    person_ids       bigint[] not null,
    primary key (selection_run_id, selection, test)
);
comment on table smp.audience_test_result is 'What the audience tests of a run found; of a selection that it reads only what stops a send';
comment on column smp.audience_test_result.selection is 'Whose test it is: the run''s selection, or one that it was made from';
comment on column smp.audience_test_result.words is 'What is wrong when the test fails';
comment on column smp.audience_test_result.person_ids is 'The first people among the offending rows';

create table smp.audience_stop (
    send_id          bigint not null references smp.send (send_id),
    selection        text not null,
    test             text not null,
    words            text not null,
    selection_run_id bigint not null references smp.selection_run (selection_run_id),
    primary key (send_id, selection, test)
);
comment on table smp.audience_stop is 'The audience tests that stopped a send when it was planned: nobody in it was mailed';

create table smp.audience_overrule (
    send_id      bigint primary key references smp.send (send_id),
    new_send_id  bigint not null unique references smp.send (send_id),
    overruled_at timestamptz not null,
    overruled_by text not null check (btrim(overruled_by) <> ''),
    reason       text not null check (btrim(reason) <> '')
);
comment on table smp.audience_overrule is 'Audit: who let a send go that an audience test had stopped, when and why; once a send, as a new send';
