-- Flows: who is where on which version of which flow, the path that each took, and what every event made of it.
-- The tables of people are written without a schema in the engine's statements: a simulation puts temporary tables of
-- the same names in front of them.

create type smp.flow_state as enum ('concept', 'live', 'paused', 'ending', 'ended');

-- A moment some time later: days are those of the local calendar, at the same time of day; the rest is absolute.
create function smp.later(moment timestamptz, days integer, rest interval, zone text) returns timestamptz
language sql immutable parallel safe as $$
    select case when days = 0 then moment else ((moment at time zone zone) + make_interval(days => days)) at time zone zone end + rest
$$;
comment on function smp.later is 'A local time that is there twice means the second; one that is skipped, as many minutes after the jump';

-- A flow that was live at least once, or that somebody was told of. What it is, is in the project's files.
create table smp.flow (
    flow_id    integer generated always as identity primary key,
    flow       text not null unique,
    state      smp.flow_state not null default 'concept',
    since      timestamptz not null,
    live_since timestamptz,
    version_id bigint
);
comment on table smp.flow is 'Flows by the name of their campaign, whether they run, and the version that people enter';
comment on column smp.flow.live_since is 'When it first went live: what happened before enrols nobody';

create table smp.flow_change (
    change_id  bigint generated always as identity primary key,
    flow_id    integer not null references smp.flow (flow_id),
    changed_at timestamptz not null,
    changed_by text not null,
    change     text not null,
    details    jsonb not null default '{}',
    reason     text
);
comment on table smp.flow_change is 'Audit: who ran, paused, ended, applied or admitted what, when and why';

-- What a flow was when it went live: it never changes, and people stay on the version that they entered (F46).
create table smp.flow_version (
    version_id bigint generated always as identity primary key,
    flow_id    integer not null references smp.flow (flow_id),
    number     integer not null,
    definition jsonb not null,
    digest     text not null,
    made_at    timestamptz not null,
    made_by    text not null,
    unique (flow_id, number)
);

create table smp.flow_node (
    version_id bigint not null references smp.flow_version (version_id),
    node       smallint not null,
    name       text not null,
    title      text not null,
    kind       text not null,
    step       text,
    ways       jsonb not null,
    primary key (version_id, node)
);
comment on table smp.flow_node is 'The steps of every version in their order; step: the mail, form or page';

create table smp.participant (
    participant_id bigint generated always as identity primary key,
    flow_id        integer not null,
    version_id     bigint not null,
    person_id      bigint not null,
    record_id      bigint,
    entry_key      text not null,
    entered_by     text not null,
    entered_at     timestamptz not null,
    round          integer not null default 0,
    node           smallint not null,
    arrived_at     timestamptz not null,
    due_at         timestamptz,
    goal_at        timestamptz,
    goal           smallint,
    left_at        timestamptz,
    outcome        text check (outcome in ('completed', 'goal', 'dropped', 'moved', 'merged')),
    reason         text,
    changed_tx     xid8 not null default pg_current_xact_id(),
    -- re-entry is a further round; without it there is round 0 only (F43)
    unique (flow_id, person_id, round),
    -- each event enrols once (F42)
    unique (flow_id, entry_key, person_id)
);
create index participant_due on smp.participant (flow_id, due_at) where left_at is null and due_at is not null;
create index participant_waiting on smp.participant (version_id, node) where left_at is null;
create index participant_changed on smp.participant (changed_tx);
create index participant_moved on smp.participant (reason, changed_tx) where outcome = 'moved';
comment on table smp.participant is 'Who takes or took part in a flow: once per person and round';
comment on column smp.participant.entry_key is 'The event that enrolled them, e.g. donation:12; unique per person';
comment on column smp.participant.round is 'How often they entered before';
comment on column smp.participant.node is 'The step where they are; the last one, once they left';
comment on column smp.participant.due_at is 'From when they can go on; null while they wait for an event, and once they left';
comment on column smp.participant.goal is 'Which goal of the version was met, from 0';
comment on column smp.participant.reason is 'dropped: why; completed: which end; moved: to which flow';

-- The path that each took: one row per step that somebody left, with the way they went.
create table smp.participant_visit (
    participant_id bigint not null,
    version_id     bigint not null,
    node           smallint not null,
    arrived_at     timestamptz not null,
    left_at        timestamptz not null,
    way            text not null,
    note           text,
    changed_tx     xid8 not null default pg_current_xact_id(),
    primary key (participant_id, version_id, node)
);
comment on table smp.participant_visit is 'Steps that participants left: when, and which way. Written with the participant, whose changed_tx leads to it';
comment on column smp.participant_visit.way is 'next, yes, no, the number of a part of a split, or none: they left the flow here';
comment on column smp.participant_visit.note is 'More of it, e.g. submitted, timeout, or why a mail was not sent: skipped: no_consent';

-- Events that enrolled nobody, so that they are judged once.
create table smp.flow_refusal (
    flow_id    integer not null,
    entry_key  text not null,
    person_id  bigint not null,
    entered_by text not null,
    reason     text not null,
    refused_at timestamptz not null,
    primary key (flow_id, entry_key, person_id)
);
comment on table smp.flow_refusal is 'Events that enrolled nobody: filtered, excluded, present (already in the flow), reentry, person_gone';

-- What a flow has seen of a source: everything that older transactions wrote; and when it last looked.
create table smp.flow_cursor (
    flow_id   integer not null references smp.flow (flow_id),
    source    text not null,
    seen      pg_snapshot,
    read_from pg_snapshot,
    looked_at timestamptz not null,
    since     timestamptz not null default '-infinity',
    primary key (flow_id, source)
);
comment on column smp.flow_cursor.read_from is 'Where the next look begins, for sources that are read twice: the snapshot before `seen`';
comment on column smp.flow_cursor.since is 'When the trigger first was live: what happened before enrols nobody';

-- Who was in the selection of a trigger at the last look.
create table smp.flow_member (
    flow_id   integer not null,
    source    text not null,
    person_id bigint not null,
    since     timestamptz not null,
    primary key (flow_id, source, person_id)
);

-- Many at once in the selection of a trigger: somebody has to say yes first (F44).
create table smp.flow_admission (
    admission_id bigint generated always as identity primary key,
    flow_id      integer not null references smp.flow (flow_id),
    source       text not null,
    people       bigint not null,
    asked_at     timestamptz not null,
    answer       boolean,
    answered_at  timestamptz,
    answered_by  text,
    taken_at     timestamptz
);
comment on column smp.flow_admission.taken_at is 'When the answer was acted upon: a yes enrolled the people, a no took note of them';
create unique index flow_admission_open on smp.flow_admission (flow_id, source) where answer is null;

-- The outbox of trigger sends also takes what flows send.
alter table smp.trigger_event alter column submission_id drop not null;
alter table smp.trigger_event add column participant_id bigint;
alter table smp.trigger_event add column version_id bigint;
alter table smp.trigger_event add column node smallint;
alter table smp.trigger_event drop constraint trigger_event_cause_check;
alter table smp.trigger_event add constraint trigger_event_cause_check check (cause in ('submitted', 'confirmed', 'flow'));
alter table smp.trigger_event add constraint trigger_event_of check ((cause = 'flow') = (submission_id is null and participant_id is not null and node is not null and version_id is not null));
create unique index trigger_event_once on smp.trigger_event (participant_id, version_id, node) where participant_id is not null;

-- Two person cards that were one and the same person: what was under the old key is under the new one (F50).
create table smp.person_merge (
    merge_id  bigint generated always as identity primary key,
    old_id    bigint not null unique,
    new_id    bigint not null,
    merged_at timestamptz not null,
    merged_by text not null,
    reason    text,
    changed_tx xid8 not null default pg_current_xact_id()
);
create index person_merge_changed on smp.person_merge (changed_tx);
comment on table smp.person_merge is 'Merged person cards: the key that went, and the one that stayed';
