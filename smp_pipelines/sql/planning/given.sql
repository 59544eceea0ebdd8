-- Postgres. Every given recipient becomes a row of the ledger: to be sent, or skipped with a reason. The rules
-- and the recipient keys are those of plan.sql; the names in braces are quoted identifiers from the project's files.
with given as (
    select person_id, record_id, min(place) as place
    from unnest(%(people)s::bigint[], %(records)s::bigint[]) with ordinality as g (person_id, record_id, place)
    group by person_id, record_id
),
-- What these people received in the days of the frequency cap, as newer_mails.sql has it. The ledger has no way in
-- by person (an index would make planning slower): the sends of those days are read, and nothing without a cap.
mine as materialized (
    select m.send_id, m.person_id, m.duplicate_of, m.state in ('planned', 'claimed', 'accepted', 'unknown') as received
    from smp.send as s
    join smp.message as m using (send_id)
    where %(cap)s::bigint is not null
      and s.purpose = 'live'
      and s.moment > %(since)s
      and s.step <> all (%(exempt)s::text[])
      and s.send_id <> %(send_id)s
      and m.person_id in (select person_id from given)
),
counted as (
    select r.person_id, count(*) as mails
    from mine as r
    where r.received
       or exists (
           select from smp.message as w
           where w.send_id = r.send_id and w.recipient_key = r.duplicate_of
             and w.state in ('planned', 'claimed', 'accepted', 'unknown')
       )
    group by r.person_id
),
-- materialised, so that the rules are not judged again wherever the reason is read
judged as materialized (
    select
        g.person_id,
        g.record_id,
        g.place,
        p.email_key,
        coalesce(n.mails, 0) as mails,
        case
            when p.person_id is null then 'person_gone'
            when p.blocked then 'person_blocked'
            when p.email_key is null then 'no_address'
            when octet_length(p.email_key) > 254 or (p.email_key !~ %(plain)s and p.email_key !~ %(address)s) then 'broken_address'
            when octet_length(p.email_key) > 64
                and (octet_length(split_part(p.email_key, '@', 1)) > 64 or p.email_key ~ %(long_label)s)
                then 'broken_address'
            when exists (select from crm.suppression as u where lower(btrim(u.email_key)) = p.email_key) then 'suppressed'
            when %(consent)s and c.granted is false then 'opted_out'
            when %(consent)s and c.granted is null and %(opt_in)s then 'no_consent'
            {record_rule}
        end as reason
    from given as g
    left join crm.person as p on p.person_id = g.person_id
    left join crm.consent as c on c.person_id = g.person_id and c.channel = %(channel)s and c.topic = %(topic)s
    left join counted as n on n.person_id = g.person_id
    {record_join}
),
-- The cap, before de-duplication: whoever shares an address with a capped person may get the mail. Without
-- de-duplication somebody may be in here several times: the first ones, as many as the cap leaves.
capped as (
    select
        person_id,
        record_id,
        place,
        email_key,
        case
            when reason is null
            and mails + case
                when %(deduplicate)s then 1
                else row_number() over (partition by person_id, reason is null order by record_id)
            end > %(cap)s then 'frequency_cap'
            else reason
        end as reason
    from judged
),
-- De-duplication (F24): of the people with one address the first gets the mail.
ranked as (
    select
        *,
        %(deduplicate)s and reason is null as by_address,
        row_number() over (partition by reason is null, email_key order by person_id, record_id) as rank
    from capped
)
insert into smp.message (send_id, recipient_key, seq, person_id, record_id, state, reason, duplicate_of)
select
    %(send_id)s,
    md5(
        case when by_address and rank = 1 then 'address:' || email_key
        else 'row:' || person_id || ':' || coalesce(record_id::text, '') end
    )::uuid,
    row_number() over (order by place),
    person_id,
    record_id,
    (case when reason is null and not (by_address and rank > 1) then 'planned' else 'skipped' end)::smp.message_state,
    case when by_address and rank > 1 then 'duplicate_address' else reason end,
    case when by_address and rank > 1 then md5('address:' || email_key)::uuid end
from ranked
