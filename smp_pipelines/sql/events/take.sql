-- Postgres. Makes a send of at most so many waiting events of a live step at once, and fills in which one took them;
-- what flows send comes in larger parts, since nobody sits there waiting for it.
-- Rows that somebody else is taking at this moment are left to them, so that no event is in two sends (F05).
with step as (
    select t.name, t.late_minutes, t.about_a_record, s.since
    from unnest(%(steps)s::text[], %(late_minutes)s::int[], %(about_a_record)s::boolean[])
        as t (name, late_minutes, about_a_record)
    join smp.step_status as s on s.step = t.name and s.status = 'live'
),
waiting as materialized (
    select e.event_id, e.step, e.happened_at, e.record_id, e.cause = 'flow' as of_flow
    from smp.trigger_event as e
    where e.send_id is null and e.missed is null and e.step in (select name from step)
      and (%(with_flows)s or e.cause <> 'flow')
      -- what a paused flow asked for waits until it goes on
      and not exists (
          select from smp.participant as p
          join smp.flow as f on f.flow_id = p.flow_id and f.state = 'paused'
          where p.participant_id = e.participant_id
      )
    order by e.event_id
    for update skip locked
),
-- Whatever happened while the step was live is sent, however late; what waited for it to become live only for a while.
judged as (
    select
        w.event_id,
        w.step,
        w.of_flow,
        case
            when w.happened_at < s.since and w.happened_at < %(now)s - make_interval(mins => s.late_minutes) then 'late'
            when s.about_a_record and w.record_id is null then 'no_record'
        end as missed
    from waiting as w
    join step as s on s.name = w.step
),
missed as (
    update smp.trigger_event as e set missed = j.missed from judged as j
    where j.event_id = e.event_id and j.missed is not null
),
numbered as (
    select
        event_id,
        step,
        of_flow,
        (row_number() over (partition by step, of_flow order by event_id) - 1)
            / case when of_flow then %(most_of_flows)s else %(most)s end as batch
    from judged
    where missed is null
),
batch as (
    select step, of_flow, batch, step || '@events-' || min(event_id) as send_key from numbered group by step, of_flow, batch
),
made as (
    insert into smp.send (send_key, step, purpose, moment, opened_at, run_id)
    select send_key, step, 'live', %(now)s, %(now)s, %(run_id)s from batch order by step, of_flow, batch
    returning send_id, send_key, step, purpose, moment, state, planned, selection_run_id
),
taken as (
    update smp.trigger_event as e set send_id = m.send_id
    from numbered as n
    join batch as b using (step, of_flow, batch)
    join made as m using (send_key)
    where n.event_id = e.event_id
)
select send_id, send_key, step, purpose, moment, state, planned, selection_run_id from made order by send_id
