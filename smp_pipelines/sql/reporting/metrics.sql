-- DuckLake. Figures per campaign, step and local day; skips by reason, and what people did by kind.
create or replace table smp.flow_metrics as
select
    campaign,
    step,
    moment::date as day,
    count(*) as planned,
    count(*) filter (where outcome = 'accepted') as accepted,
    count(*) filter (where outcome = 'rejected') as rejected,
    count(*) filter (where outcome = 'unknown') as unknown,
    count(*) filter (where outcome = 'skipped') as skipped,
    count(*) filter (where outcome = 'planned') as waiting
from smp.message
where purpose = 'live'
group by all
order by all;

create or replace table smp.skip_metrics as
select campaign, step, moment::date as day, reason, count(*) as people
from smp.message
where purpose = 'live' and outcome in ('skipped', 'rejected', 'unknown')
group by all
order by all;

create or replace table smp.engagement as
select
    campaign,
    step,
    happened_at::date as day,
    kind,
    count(distinct person_id) as people,
    sum(hits)::bigint as hits
from smp.reaction
group by all
order by all;

comment on table smp.flow_metrics is 'Per campaign, step and day: planned = accepted + rejected + unknown + skipped + waiting';
comment on table smp.skip_metrics is 'Per campaign, step and day: how many were skipped, rejected or unknown, by reason';
comment on table smp.engagement is 'Per campaign, step, day and kind: how many people did it for the first time that day, and how often they did in all';
