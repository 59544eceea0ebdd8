-- DuckLake. Figures per campaign, step and local day; skips by reason, and what people did by kind.
delete from smp.flow_metrics;
insert into smp.flow_metrics by name
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

delete from smp.skip_metrics;
insert into smp.skip_metrics by name
select campaign, step, moment::date as day, reason, count(*) as people
from smp.message
where purpose = 'live' and outcome in ('skipped', 'rejected', 'unknown')
group by all
order by all;

delete from smp.engagement;
insert into smp.engagement by name
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
