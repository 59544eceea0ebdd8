-- A mail: outside of the flow's hours it waits for them; who may not get it goes on without, or leaves (F33, F49).
refusal as (
    select
        checked.*,
        case
            when dropped is not null then dropped
            when checked.email_key is null then 'no_address'
            when octet_length(checked.email_key) > 254
                or (checked.email_key !~ %(plain)s and checked.email_key !~ %(address)s) then 'broken_address'
            when octet_length(checked.email_key) > 64
                and (octet_length(split_part(checked.email_key, '@', 1)) > 64 or checked.email_key ~ %(long_label)s)
                then 'broken_address'
            when exists (select from crm.suppression as u where lower(btrim(u.email_key)) = checked.email_key) then 'suppressed'
            when c.granted is false then 'opted_out'
            when c.granted is null and %(opt_in)s then 'no_consent'
            when exists (
                select from trigger_event as e
                where e.person_id = checked.person_id and e.step = %(step)s and e.send_id is null and e.missed is null
            ) then 'already'
        end as refused
    from checked
    left join crm.consent as c
        on c.person_id = checked.person_id and c.channel = 'email' and c.topic = %(topic)s
),
judged as materialized (
    select
        refusal.*,
        case when dropped is not null then 'none' when not %(is_open)s then null when leaves then 'none' else 'next' end as way,
        case
            when dropped is not null then dropped
            when refused is null then 'sent'
            when leaves then refused
            else 'skipped: ' || refused
        end as note,
        %(now)s::timestamptz as moment,
        %(next)s::smallint as next,
        %(opens)s::timestamptz as due_at,
        case when dropped is not null or (leaves and %(is_open)s) then 'dropped' end as outcome,
        case when dropped is not null or leaves then refused end as reason
    from refusal
    cross join lateral (select dropped is null and refused is not null and %(leaves)s as leaves) as answer
)
