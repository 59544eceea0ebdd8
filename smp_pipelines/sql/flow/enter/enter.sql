-- Judge each new event, enrol or refuse. Of several events of one person in one look the first may enrol; the others
-- find them in the flow already. The database holds the rule of re-entry as well: a round is there once.
-- Whoever calls this holds the flow, so that nothing is in the way of what is inserted; looking for it costs a quarter.
with latest as (
    select person_id, max(round) as round, bool_or(left_at is null) as is_open, max(left_at) as left_at
    from participant
    where flow_id = %(flow_id)s and person_id in (select person_id from flow_new)
    group by person_id
),
judged as materialized (
    select
        n.person_id,
        n.record_id,
        n.entry_key,
        coalesce(l.round + 1, 0) as round,
        case
            when p.person_id is null then 'person_gone'
            when p.blocked then 'person_blocked'
            when l.is_open then 'present'
            when l.person_id is not null
                and (not %(again)s or smp.later(l.left_at, %(days)s, %(rest)s, %(zone)s) > %(now)s) then 'reentry'
            when %(filtered)s and f.person_id is null then 'filtered'
            when %(excluded)s and x.person_id is not null then 'excluded'
        end as reason,
        row_number() over (partition by n.person_id order by n.place) as place
    from flow_new as n
    left join crm.person as p on p.person_id = n.person_id
    left join latest as l on l.person_id = n.person_id
    left join (select distinct person_id from flow_fit where %(filtered)s) as f on f.person_id = n.person_id
    left join (select distinct person_id from flow_yes where %(excluded)s) as x on x.person_id = n.person_id
),
decided as materialized (
    select person_id, record_id, entry_key, round, case when place = 1 then reason else coalesce(reason, 'present') end as reason
    from judged
),
enrolled as (
    insert into participant (
        flow_id, version_id, person_id, record_id, entry_key, entered_by, entered_at, round, node, arrived_at, due_at
    )
    select
        %(flow_id)s, %(version_id)s, person_id, record_id, entry_key, %(entered_by)s, %(now)s, round, 0, %(now)s, %(now)s
    from decided
    where reason is null
    order by person_id
),
refused as (
    insert into flow_refusal (flow_id, entry_key, person_id, entered_by, reason, refused_at)
    select %(flow_id)s, entry_key, person_id, %(entered_by)s, reason, %(now)s
    from decided
    where reason is not null
    on conflict do nothing
)
select reason, count(*) from decided group by reason
