-- What must not be in the ledger, per send: how many rows of it there are. No row here means that all is well.
-- Who is in a send more than once is looked for in one send at a time: that costs more than all the rest.
with repeated as (
    select person_id
    from smp.message
    where send_id = %(send_id)s::bigint and state <> 'skipped'
    group by person_id
    having count(*) > 1
),
-- De-duplicated (F24): the key is the address's and not the row's, so the person may be in the send once;
-- otherwise once for each record.
twice as (
    select m.person_id
    from smp.message as m
    join repeated as r using (person_id)
    where m.send_id = %(send_id)s::bigint and m.state <> 'skipped'
    group by
        m.person_id,
        case
            when m.recipient_key = md5('row:' || m.person_id || ':' || coalesce(m.record_id::text, ''))::uuid
                then m.record_id
        end
    having count(*) > 1
)
select %(send_id)s::bigint as send_id, 'twice' as finding, count(*) as found
from twice
having count(*) > 0
union all
select send_id, 'no_reason', count(*)
from smp.message
where state = 'skipped' and reason is null and (%(send_id)s::bigint is null or send_id = %(send_id)s)
group by send_id
union all
-- left out because somebody else with the address gets the mail, and that somebody is not there
select m.send_id, 'no_other', count(*)
from smp.message as m
left join smp.message as o on o.send_id = m.send_id and o.recipient_key = m.duplicate_of
where m.duplicate_of is not null and o.send_id is null and (%(send_id)s::bigint is null or m.send_id = %(send_id)s)
group by m.send_id
order by 1, 2
