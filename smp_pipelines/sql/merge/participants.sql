-- Postgres. The participations of these people in flows that an old person takes or took part in, as they are to be:
-- rounds in the order of entering; of two that the same event made, the earlier one keeps its key; of two that are open,
-- the one that entered first stays.
create temp table smp_merge_participant on commit drop as
with locked as materialized (
    select p.participant_id, p.flow_id, p.person_id, p.entry_key, p.entered_at, p.left_at
    from smp.flow as f
    join smp.participant as p using (flow_id)
    where p.person_id in (select id from smp_merge_id)
    order by p.participant_id
    for update of p
),
theirs as (
    select l.*, coalesce(m.smp_new, l.person_id) as new_id, m.smp_old is not null as moves
    from locked as l
    left join smp_merge as m on m.smp_old = l.person_id
),
ranked as (
    select
        *,
        bool_or(moves) over (partition by flow_id, new_id) as concerned,
        row_number() over in_flow - 1 as round,
        row_number() over (partition by flow_id, new_id, entry_key order by entered_at, participant_id) as nth,
        first_value(participant_id) over (
            partition by flow_id, new_id, left_at is null order by entered_at, participant_id
        ) as first_open
    from theirs
    window in_flow as (partition by flow_id, new_id order by entered_at, participant_id)
)
select
    participant_id,
    new_id,
    moves,
    round,
    nth > 1 as same_event,
    case when left_at is null and first_open <> participant_id then first_open end as stays
from ranked
where concerned
