-- DuckLake, catalogue smp: flows as the database has them, per person key. No names, no addresses.
create table if not exists smp.flow_node (
    version_id bigint, node smallint, flow varchar, version integer, step varchar, title varchar, kind varchar,
    mail varchar
);

create table if not exists smp.flow_participant (
    participant_id bigint, flow varchar, version_id bigint, person_id bigint, record_id bigint, entered_by varchar,
    entered_at timestamptz, round integer, node smallint, arrived_at timestamptz, due_at timestamptz,
    goal_at timestamptz, goal smallint, left_at timestamptz, outcome varchar, reason varchar
);

create table if not exists smp.flow_visit (
    participant_id bigint, version_id bigint, node smallint, arrived_at timestamptz, left_at timestamptz, way varchar,
    note varchar
);

create table if not exists smp.flow_mail (
    participant_id bigint, version_id bigint, node smallint, send_id bigint, person_id bigint, record_id bigint
);

create table if not exists smp.flow_state (watermark varchar);

create table if not exists smp.flow_step (
    flow varchar, version integer, place smallint, step varchar, title varchar, kind varchar, came bigint,
    waiting bigint, went_on bigint, dropped bigint, reached_goal bigint, mails bigint, skipped bigint, delivered bigint,
    bounced bigint, opened bigint, clicked bigint, unsubscribed bigint
);

create table if not exists smp.flow_dropout (
    flow varchar, version integer, place smallint, step varchar, reason varchar, people bigint
);

create table if not exists smp.flow_result (
    flow varchar, version integer, enrolled bigint, waiting bigint, completed bigint, reached_goal bigint, moved bigint,
    dropped bigint, merged bigint, succeeded bigint, success_percent double
);

comment on table smp.flow_participant is 'Who takes or took part in a flow, as in the database';
comment on table smp.flow_visit is 'Steps that participants left';
comment on table smp.flow_mail is 'Mails that steps of flows asked for, and the send that took each';
comment on table smp.flow_step is 'Per step of a flow''s version: came = waiting + went on + left the flow there';
comment on table smp.flow_dropout is 'Per step of a flow''s version: how many dropped out there, by reason';
comment on table smp.flow_result is 'Per version of a flow: how many enrolled, how they left, and how many succeeded';
