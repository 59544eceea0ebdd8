-- DuckDB. The tables of the report file: person keys and what one counts by; no names, no addresses.
create table report.contact_moments as
select
    person_id, campaign, step, channel, kind, happened_at, outcome, reason, received, record_id, send_id, submission_id,
    link
from smp.contact_moment order by happened_at, send_id;

create table report.skips as
select person_id, campaign, step, channel, moment as happened_at, reason, record_id, send_id
from smp.message where purpose = 'live' and outcome = 'skipped' order by happened_at, send_id;

create table report.sends as
select send_id, send_key, step, campaign, channel, purpose, moment, state, planned, planned_at, finished_at
from smp.send order by send_id;

create table report.flow_metrics as from smp.flow_metrics;
create table report.skip_metrics as from smp.skip_metrics;
create table report.engagement as from smp.engagement;

-- No catalogue is named in a view: it is called after the file, whatever somebody calls that.
use report;

create view step_results as
with mailed as (
    select
        campaign, step, min(day) as first_day, max(day) as last_day,
        sum(planned)::bigint as planned, sum(accepted)::bigint as accepted, sum(rejected)::bigint as rejected,
        sum(unknown)::bigint as unknown, sum(skipped)::bigint as skipped, sum(waiting)::bigint as waiting
    from flow_metrics
    group by all
),
did as (
    select
        campaign, step,
        count(distinct person_id) filter (where kind = 'opened') as opened,
        count(distinct person_id) filter (where kind = 'clicked') as clicked,
        count(distinct person_id) filter (where kind = 'unsubscribed') as unsubscribed,
        count(distinct person_id) filter (where kind = 'form_opened') as form_opened,
        count(distinct person_id) filter (where kind = 'form_submitted') as form_submitted,
        count(distinct person_id) filter (where kind = 'confirmed') as confirmed,
        count(distinct person_id) filter (where kind = 'page_seen') as page_seen
    from contact_moments
    where kind <> 'sent'
    group by all
),
did_on as (
    -- the days are local ones in there; a moment is of the day that it is where this view is read
    select campaign, step, min(day) as first_day, max(day) as last_day from engagement group by all
)
select
    campaign, step, s.name, s.description, s.send,
    least(m.first_day, o.first_day) as first_day, greatest(m.last_day, o.last_day) as last_day,
    coalesce(m.planned, 0) as planned, coalesce(m.accepted, 0) as accepted, coalesce(m.rejected, 0) as rejected,
    coalesce(m.unknown, 0) as unknown, coalesce(m.skipped, 0) as skipped, coalesce(m.waiting, 0) as waiting,
    round(100.0 * m.accepted / nullif(m.planned, 0), 1) as accepted_percent,
    coalesce(d.opened, 0) as opened, coalesce(d.clicked, 0) as clicked, coalesce(d.unsubscribed, 0) as unsubscribed,
    coalesce(d.form_opened, 0) as form_opened, coalesce(d.form_submitted, 0) as form_submitted,
    coalesce(d.confirmed, 0) as confirmed, coalesce(d.page_seen, 0) as page_seen
from mailed as m
full join did as d using (campaign, step)
left join did_on as o using (campaign, step)
left join steps as s using (step);

create view mail_results as
select
    campaign, step, name, accepted + rejected + unknown as sent, accepted as delivered, rejected as bounced, opened,
    clicked, unsubscribed, round(100.0 * opened / nullif(accepted, 0), 1) as opened_percent,
    round(100.0 * clicked / nullif(accepted, 0), 1) as clicked_percent
from step_results
where planned > 0;

create view reached_people as
select person_id, count(*) as mails, max(happened_at) as last_mail_at
from contact_moments where outcome = 'accepted' group by person_id;

create view skip_words as
select campaign, step, reason, sum(people)::bigint as people from skip_metrics group by all order by people desc;

use memory;

comment on table report.contact_moments is 'Every contact moment: person, step, kind, moment and how it ended';
comment on table report.skips is 'Who was selected but got no mail, and why';
comment on table report.sends is 'Every send: a step at a moment';
comment on table report.selection_runs is 'Every run of a selection, or of the target group of a step (campaign/step): how many rows, and who came and went';
comment on column report.selection_runs.entered is 'Rows that the run before did not have; null for a first run, or when the keys changed';
comment on column report.selection_runs.departed is 'Rows of the run before that this one does not have';
comment on column report.selection_runs.sends is 'How many sends were planned from this run';
comment on table report.steps is 'What the steps are, from the campaign files';
comment on table report.flow_metrics is 'Per campaign, step and local day: planned = accepted + rejected + unknown + skipped + waiting';
comment on table report.skip_metrics is 'Per campaign, step and local day: how many were skipped, rejected or unknown, by reason';
comment on table report.engagement is 'Per campaign, step, local day and kind: how many people did it for the first time that day, and how often in all';
comment on view report.step_results is 'The figures of each step over all days, with its name; what people did counts each of them once';
comment on view report.mail_results is 'Of each mail: sent, delivered (accepted by the mail server), bounced, and how many people opened, clicked and unsubscribed (F48)';
comment on column report.contact_moments.link is 'clicked: the first link, as the template has it, or the step it leads to';
comment on view report.reached_people is 'Per person: how many mails were accepted, and when the last one was';
comment on view report.skip_words is 'Per step: how many people got no mail, by reason';
