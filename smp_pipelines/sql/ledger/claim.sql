-- Take the next rows of a send, under a token and a lease: first those that were put off and are due, then fresh
-- ones in their order. The rules are read here once more (invariant 2): a row whose person may not get this mail any
-- more is skipped with its reason. The address that was judged comes along: that one is mailed, and no other.
with running as (
    select
        (not %(needs_live)s or exists (select from smp.step_status as l where l.step = %(step)s and l.status = 'live'))
        and not exists (select from smp.send_change as c where c.send_id = %(send_id)s and c.change = 'cancelled') as yes
),
due as (
    select m.ctid as place, m.send_id, m.recipient_key, m.person_id, m.record_id
    from smp.message as m
    where m.send_id = %(send_id)s and m.state = 'planned' and m.retry_at <= %(now)s and (select yes from running)
    order by m.retry_at nulls first, m.seq
    limit %(batch)s
    for update of m skip locked
),
fresh as (
    select m.ctid as place, m.send_id, m.recipient_key, m.person_id, m.record_id
    from smp.message as m
    where m.send_id = %(send_id)s and m.state = 'planned' and m.retry_at is null and m.seq > %(after)s
      and (select yes from running)
    order by m.retry_at nulls first, m.seq
    limit %(batch)s - (select count(*) from due)
    for update of m skip locked
),
candidate as (
    select * from due
    union all
    select * from fresh
),
judged as (
    select
        c.place,
        btrim(p.email) as address,
        case
            when p.person_id is null then 'person_gone'
            when p.blocked then 'person_blocked'
            when p.email_key is null then 'no_address'
            -- of a de-duplicated row the key says that this very address was judged at planning
            when %(deduplicate)s and md5('address:' || p.email_key)::uuid = c.recipient_key then null
            when octet_length(p.email_key) > 254 or (p.email_key !~ %(plain)s and p.email_key !~ %(address)s)
                then 'broken_address'
            when octet_length(p.email_key) > 64
                and (octet_length(split_part(p.email_key, '@', 1)) > 64 or p.email_key ~ %(long_label)s)
                then 'broken_address'
            when %(deduplicate)s then 'address_changed'
        end as gone,
        case
            when u.email_key is not null then 'suppressed'
            when %(consent)s and k.granted is false then 'opted_out'
            when %(consent)s and k.granted is null and %(opt_in)s then 'no_consent'
            {record_rule}
        end as refused
    from candidate as c
    left join crm.person as p on p.person_id = c.person_id
    left join crm.suppression as u on lower(btrim(u.email_key)) = p.email_key
    left join crm.consent as k on k.person_id = c.person_id and k.channel = %(channel)s and k.topic = %(topic)s
    {record_join}
),
verdict as (
    select place, address, coalesce(gone, refused) as reason from judged
)
update smp.message as m
set state = (case when j.reason is null then 'claimed' else 'skipped' end)::smp.message_state,
    reason = j.reason,
    claim_token = case when j.reason is null then %(token)s::uuid end,
    lease_until = case when j.reason is null then %(now)s + %(lease)s end,
    settled_at = case when j.reason is null then null else %(now)s end,
    attempts = m.attempts + (j.reason is null)::int
from verdict as j
where m.ctid = j.place
returning m.recipient_key, m.seq, m.person_id, m.record_id, m.attempts, j.address, m.state::text, m.reason
