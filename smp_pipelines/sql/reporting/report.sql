-- DuckDB. The tables of the report file: person keys and what one counts by; no names, no addresses.
create table report.contact_moments as
select person_id, campaign, step, channel, kind, happened_at, outcome, reason, received, record_id, send_id
from smp.contact_moment order by happened_at, send_id;

create table report.skips as
select person_id, campaign, step, channel, moment as happened_at, reason, record_id, send_id
from smp.message where purpose = 'live' and outcome = 'skipped' order by happened_at, send_id;

create table report.sends as
select send_id, send_key, step, campaign, channel, purpose, moment, state, planned, planned_at, finished_at
from smp.send order by send_id;

create table report.flow_metrics as from smp.flow_metrics;
create table report.skip_metrics as from smp.skip_metrics;

-- No catalogue is named in a view: it is called after the file, whatever somebody calls that.
use report;

create view step_results as
select
    f.campaign, f.step, s.name, s.description, s.send,
    min(f.day) as first_day, max(f.day) as last_day,
    sum(f.planned)::bigint as planned, sum(f.accepted)::bigint as accepted, sum(f.rejected)::bigint as rejected,
    sum(f.unknown)::bigint as unknown, sum(f.skipped)::bigint as skipped, sum(f.waiting)::bigint as waiting,
    round(100.0 * sum(f.accepted) / nullif(sum(f.planned), 0), 1) as accepted_percent
from flow_metrics as f left join steps as s on s.step = f.step
group by all;

create view reached_people as
select person_id, count(*) as mails, max(happened_at) as last_mail_at
from contact_moments where outcome = 'accepted' group by person_id;

create view skip_words as
select campaign, step, reason, sum(people)::bigint as people from skip_metrics group by all order by people desc;

use memory;

comment on table report.contact_moments is 'Every contact moment: person, step, moment and how it ended';
comment on table report.skips is 'Who was selected but got no mail, and why';
comment on table report.sends is 'Every send: a step at a moment';
comment on table report.selection_runs is 'Every run of a selection, or of the target group of a step (campaign/step): how many rows, and who came and went';
comment on column report.selection_runs.entered is 'Rows that the run before did not have; null for a first run, or when the keys changed';
comment on column report.selection_runs.departed is 'Rows of the run before that this one does not have';
comment on column report.selection_runs.sends is 'How many sends were planned from this run';
comment on table report.steps is 'What the steps are, from the campaign files';
comment on table report.flow_metrics is 'Per campaign, step and local day: planned = accepted + rejected + unknown + skipped + waiting';
comment on table report.skip_metrics is 'Per campaign, step and local day: how many were skipped, rejected or unknown, by reason';
comment on view report.step_results is 'The figures of each step over all days, with its name';
comment on view report.reached_people is 'Per person: how many mails were accepted, and when the last one was';
comment on view report.skip_words is 'Per step: how many people got no mail, by reason';
