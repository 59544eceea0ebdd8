-- DuckDB, lake. Four steps in turn, a send every four days, each to as many people as it takes to come
-- to bench_moments in all. The stride spreads the people of a send over the whole table; it is prime,
-- so nobody is in a send twice (unless the number of people is a multiple of it).
create or replace temp table bench_send as
select
    send,
    ['we_miss_you/we_miss_you', 'servicemails/servicemail', 'newsletter/december', 'bench/planned_0'][1 + send % 4] as step,
    getvariable('bench_now') - to_days((200 - send)::integer * 4) as moment
from range(200) as t (send);

insert into smp.send by name
select
    -1 - send as send_id,
    step || '@bench-' || send as send_key,
    step,
    split_part(step, '/', 1) as campaign,
    'email' as channel,
    'live' as purpose,
    moment,
    'finished' as state,
    getvariable('bench_moments') // 200 as planned,
    moment as planned_at,
    moment + interval 1 hour as finished_at
from bench_send;

-- in the order of the numbers, without sorting: the sends are few, so each row finds its own on the way
insert into smp.message by name
with numbers as (
    select i // (getvariable('bench_moments') // 200) as send, i % (getvariable('bench_moments') // 200) as n
    from range(getvariable('bench_moments') // 200 * 200) as t (i)
),
people as (
    select send, n, 1 + (send * 104729 + n * 7919) % getvariable('bench_people') as person_id from numbers
)
select
    -1 - s.send as send_id,
    person_id,
    case when s.step = 'servicemails/servicemail' then 1 + hash(person_id, s.send) % 1500 end as record_id,
    s.step,
    split_part(s.step, '/', 1) as campaign,
    'email' as channel,
    'live' as purpose,
    s.moment,
    case hash(person_id, s.send) % 100 when 0 then 'rejected' when 1 then 'unknown' else 'accepted' end as outcome,
    case hash(person_id, s.send) % 100 when 0 then 'refused' when 1 then 'connection_lost' end as reason,
    hash(person_id, s.send) % 100 <> 0 as received,
    s.moment + to_milliseconds(n) as settled_at
from people join bench_send as s using (send);
