-- DuckDB. Every selected row becomes a row of the ledger: to be sent, or skipped with a reason.
-- The names in braces are quoted identifiers from the project's files; values are parameters.
-- Of an internal send everybody gets every record that another selection shows.
with selected as (
    select distinct people.person_id, {record_id} as record_id
    from {people}{shown}
),
-- Whoever wrote an address on this list meant the address, not its capitals.
suppressed as (
    select distinct lower(trim(email_key)) as email_key from crm.suppression
),
used as (
    select distinct person_id from temp.used_in_campaign
),
judged as (
    select
        s.person_id,
        s.record_id,
        p.email_key,
        case
            when p.person_id is null then 'person_gone'
            when p.blocked then 'person_blocked'
            when p.email_key is null then 'no_address'
            when strlen(p.email_key) > 254 or not regexp_full_match(p.email_key, $address) then 'broken_address'
            when strlen(p.email_key) > 64
                and (strlen(split_part(p.email_key, '@', 1)) > 64 or regexp_matches(p.email_key, $long_label))
                then 'broken_address'
            when u.email_key is not null then 'suppressed'
            when $consent and c.granted is false then 'opted_out'
            when $consent and c.granted is null and $opt_in then 'no_consent'
            {record_rule}
            when w.person_id is not null then 'used_in_campaign'
        end as reason
    from selected as s
    left join crm.person as p on p.person_id = s.person_id
    left join suppressed as u on u.email_key = p.email_key
    left join crm.consent as c on c.person_id = s.person_id and c.channel = $channel and c.topic = $topic
    left join used as w on w.person_id = s.person_id
    {record_join}
),
-- The frequency cap, before de-duplication: whoever shares an address with a capped person may get the mail.
-- Without de-duplication somebody may have several rows here: the first ones, as many as the cap leaves.
capped as (
    select
        j.person_id,
        j.record_id,
        j.email_key,
        case
            when j.reason is null and coalesce(t.mails, 0) + {how_manieth} > $cap then 'frequency_cap'
            else j.reason
        end as reason
    from judged as j
    left join temp.received as t on t.person_id = j.person_id
),
-- De-duplication (F24): of the people with one address the first gets the mail.
ranked as (
    select
        *,
        $deduplicate and reason is null as by_address,
        row_number() over (partition by reason is null, email_key order by person_id, record_id) as place
    from capped
)
select
    md5(
        case when by_address and place = 1 then 'address:' || email_key
        else 'row:' || person_id || ':' || coalesce(record_id::varchar, '') end
    ) as recipient_key,
    row_number() over () as seq,
    person_id,
    record_id,
    case when reason is null and not (by_address and place > 1) then 'planned' else 'skipped' end as state,
    case when by_address and place > 1 then 'duplicate_address' else reason end as reason,
    case when by_address and place > 1 then md5('address:' || email_key) end as duplicate_of
from ranked
