-- What people buy from: every performance as often as its hall is large, numbered within its day
-- (the weeks around the sample's day) or within its period (the past, the far future).
create or replace temp table sample_choice as
with halls as (
    select
        performance_id, starts_at,
        datediff('day', getvariable('sample_today'), timezone('Europe/Amsterdam', starts_at)::date) as ahead,
        case performance_id % 10 when 1 then 6 when 2 then 3 when 3 then 4 else 1 end as weight,
        case performance_id % 10 when 3 then 13.50 when 5 then 7.50 else 17.50 + 1.50 * sample.dice(performance_id, 'price', 14) end as price,
        performance_id % 10 <= 3 as numbered_seats
    from sample.performance
),
periods as (
    select *, case when ahead < -1 then -1000 when ahead > 14 then 1000 else ahead end as period
    from halls cross join lateral (select unnest(range(weight)))
)
select
    period, performance_id, epoch(starts_at)::bigint as starts, price, numbered_seats,
    row_number() over (partition by period order by performance_id) - 1 as number,
    count(*) over (partition by period) as many
from periods;

-- A family goes together, or most of it. `turn` numbers what a person may buy: 0 to 15 the days from
-- yesterday on, 16 to 23 the past, 24 the far future. It is part of the ticket's number.
create or replace table sample.ticket as
with people as (
    select person_id, sample.family(person_id) as family from sample.person where not internal_test
),
evenings as (
    select person_id, family, turn, turn - 1 as period
    from people cross join range(0, 16) as t (turn)
    where sample.dice2(family, turn, 'evening', 1000) < case when turn between 2 and 5 then 108 when turn < 2 then 30 else 8 end
),
visits as (
    select person_id, family, 16 + unnest(range(case
        when dice < 72 then 0 when dice < 88 then 1 when dice < 95 then 2 when dice < 98 then 4 else 6 end)) as turn, -1000 as period
    from (select *, sample.dice(family, 'visits', 100) as dice from people)
),
plans as (
    select person_id, family, 24 as turn, 1000 as period from people where sample.dice(family, 'plans', 100) < 8
),
turns as (
    from evenings union all from visits union all from plans
),
chosen as materialized (  -- the number is known before the join, which is what makes the join a fast one
    select t.*, sample.dice2(t.family, t.turn, 'choice', m.many) as number
    from turns as t join (select distinct period, many from sample_choice) as m using (period)
    where t.person_id = t.family or sample.dice2(t.person_id, t.turn, 'goes along', 100) < 75
),
purchases as (
    select
        t.person_id, t.turn, c.performance_id, c.starts, c.price, c.numbered_seats,
        sample.created_seconds(t.person_id) as created,
        case
            when sample.in_family(t.person_id) then 1
            else [1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4, 2, 1, 2, 2][1 + sample.dice2(t.person_id, t.turn, 'seats', 15)]
        end as seats
    from chosen as t join sample_choice as c using (period, number)
)
select
    (person_id * 256 + turn * 8 + seat)::bigint as ticket_id,
    person_id,
    performance_id,
    -- no box office: with very many people a seat is sold more than once
    case when numbered_seats then
        'rij ' || (1 + sample.dice2(person_id, turn, 'row', 30)) || ' stoel ' || (1 + sample.dice2(person_id, turn, 'chair', 36) + seat)
    end as seat,
    price::decimal(10, 2) as price,
    to_timestamp(greatest(created, least(starts, sample.now_seconds()) - 60 - sample.dice2(person_id, turn, 'bought', 5184000))) as bought_at
from (select *, unnest(range(seats)) as seat from purchases where created < starts)
order by ticket_id;

drop table sample_choice;
