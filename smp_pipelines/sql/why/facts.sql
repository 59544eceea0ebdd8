-- DuckDB. What the rules of planning look at, for each of these people with each record that they are selected with
-- (and once without a record for who is not selected).
select
    a.person_id,
    s.person_id is not null as selected,
    s.record_id,
    p.person_id is not null as known,
    coalesce(p.blocked, false) as blocked,
    p.email_key is not null as has_address,
    coalesce(
        strlen(p.email_key) > 254
        or not regexp_full_match(p.email_key, $address)
        or strlen(p.email_key) > 64
        and (strlen(split_part(p.email_key, '@', 1)) > 64 or regexp_matches(p.email_key, $long_label)),
        false
    ) as broken,
    u.reason as suppressed_for,
    u.since as suppressed_since,
    c.granted,
    c.changed_at as consent_changed_at,
    c.source as consent_source,
    {record_known} as record_known,
    {record_blocked} as record_blocked,
    {record_title} as record_title
from (select unnest([{people}]) as person_id) as a
left join (select person_id, {record_id} as record_id from temp.why_selected) as s on s.person_id = a.person_id
left join crm.person as p on p.person_id = a.person_id
left join (
    select lower(trim(email_key)) as email_key, min(reason) as reason, min(since) as since
    from crm.suppression
    group by all
) as u on u.email_key = p.email_key
left join crm.consent as c on c.person_id = a.person_id and c.channel = $channel and c.topic = $topic
{record_join}
order by a.person_id, s.record_id
