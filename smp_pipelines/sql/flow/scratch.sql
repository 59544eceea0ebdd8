-- The scratch tables of one connection. flow_at: who arrived at which step and is to be judged there. flow_stay: where
-- they end up. flow_candidate: events that may enrol somebody. flow_yes: who meets the condition last asked for.
create temporary table if not exists flow_at (
    participant_id bigint not null,
    person_id      bigint not null,
    record_id      bigint,
    entered_at     timestamptz not null,
    node           smallint not null,
    arrived_at     timestamptz not null
);
create temporary table if not exists flow_stay (
    participant_id bigint not null,
    node           smallint not null,
    arrived_at     timestamptz not null,
    due_at         timestamptz,
    left_at        timestamptz,
    outcome        text,
    reason         text
);
create temporary table if not exists flow_candidate (
    person_id bigint not null,
    record_id bigint,
    entry_key text not null
);
create temporary table if not exists flow_fit (person_id bigint not null);
create temporary table if not exists flow_yes (person_id bigint not null)
