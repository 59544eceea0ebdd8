-- Take the next rows of a send, under a token and a lease. The rules are read here once more
-- (invariant 2): a row whose person may not get this mail any more is skipped with its reason.
-- The address that was judged comes along: that one is mailed, and no other.
with candidate as (
    select m.send_id, m.recipient_key, m.person_id, m.record_id
    from smp.message as m
    where m.send_id = %(send_id)s
      and m.state = 'planned'
      and (m.retry_at is null or m.retry_at <= %(now)s)
      and (
          not %(needs_live)s
          or exists (select 1 from smp.step_status as l where l.step = %(step)s and l.status = 'live')
      )
    order by m.seq
    limit %(batch)s
    for update of m skip locked
),
judged as (
    select
        c.send_id,
        c.recipient_key,
        btrim(p.email) as address,
        case
            when p.person_id is null then 'person_gone'
            when p.blocked then 'person_blocked'
            when p.email_key is null then 'no_address'
            when length(p.email_key) > 254 or p.email_key !~ %(address)s then 'broken_address'
            when %(deduplicate)s and md5('address:' || p.email_key)::uuid <> c.recipient_key then 'address_changed'
            when u.email_key is not null then 'suppressed'
            when k.granted is false then 'opted_out'
            when k.granted is null and %(opt_in)s then 'no_consent'
            {record_rule}
        end as reason
    from candidate as c
    left join crm.person as p on p.person_id = c.person_id
    left join crm.suppression as u on lower(btrim(u.email_key)) = p.email_key
    left join crm.consent as k on k.person_id = c.person_id and k.channel = %(channel)s and k.topic = %(topic)s
    {record_join}
)
update smp.message as m
set state = (case when j.reason is null then 'claimed' else 'skipped' end)::smp.message_state,
    reason = j.reason,
    claim_token = case when j.reason is null then %(token)s::uuid end,
    lease_until = case when j.reason is null then %(now)s + %(lease)s end,
    settled_at = case when j.reason is null then null else %(now)s end,
    attempts = m.attempts + (j.reason is null)::int
from judged as j
where m.send_id = j.send_id and m.recipient_key = j.recipient_key
returning m.recipient_key, m.seq, m.person_id, m.record_id, m.attempts, j.address, m.state::text, m.reason
