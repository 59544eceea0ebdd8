-- DuckDB. The tables of the report file about flows: person keys only (F35, F47, F48).
create table report.flow_participant as
select
    p.participant_id, p.flow, n.version, p.person_id, p.record_id, p.entered_by, p.entered_at, p.round, n.step,
    p.arrived_at, p.due_at, p.goal_at, p.goal, p.left_at, p.outcome, p.reason,
    coalesce(p.goal_at is not null and p.outcome in ('completed', 'goal', 'moved'), false) as succeeded
from smp.flow_participant as p
join smp.flow_node as n using (version_id, node)
order by p.participant_id;

create table report.flow_path as
select v.participant_id, n.flow, n.version, n.node as place, n.step, n.kind, v.arrived_at, v.left_at, v.way, v.note
from smp.flow_visit as v
join smp.flow_node as n using (version_id, node)
order by v.participant_id, v.left_at, n.version, n.node;

create table report.flow_step as from smp.flow_step;
create table report.flow_dropout as from smp.flow_dropout;
create table report.flow_result as from smp.flow_result;

comment on table report.flow_participant is 'Who takes or took part in a flow: once per person and round';
comment on column report.flow_participant.step is 'Where they are; where they were last, once they left';
comment on column report.flow_participant.due_at is 'From when they go on; null while they wait for an event, and once they left';
comment on column report.flow_participant.goal is 'Which goal of the version was met, from 0';
comment on column report.flow_participant.reason is 'dropped: why; completed: which end; moved: to which flow';
comment on column report.flow_participant.succeeded is 'Left the flow with a goal met (F34)';
comment on table report.flow_path is 'The path that each participant took: one row per step that they left (F47)';
comment on column report.flow_path.place is 'The place of the step in its version, from 0';
comment on column report.flow_path.way is 'next, yes, no, the number of a part of a split, or none: they left the flow here';
comment on column report.flow_path.note is 'More of it: submitted, timeout, sent, or why no mail was sent, e.g. skipped: no_consent';
comment on table report.flow_step is 'Per step of a flow''s version: came = waiting + went_on + left the flow there; of mails: what became of them (F48)';
comment on column report.flow_step.mails is 'Mails that the step asked for, and people who got none (skipped)';
comment on column report.flow_step.opened is 'People; like clicked and unsubscribed';
comment on table report.flow_dropout is 'Per step of a flow''s version: how many people dropped out there, by reason';
comment on table report.flow_result is 'Per version of a flow: enrolled = waiting + completed + reached_goal + moved + dropped + merged; success_percent as in F34'
