-- No to the topics of a mail, by its reader, and which mail made them say so. A mail that was de-duplicated is for
-- everybody of its address (its key is made of the address); as long as the person still has that address, the no is
-- of all who share it.
with mail as (
    select m.send_id, m.recipient_key, m.record_id, s.step, p.person_id, p.email_key
    from smp.message as m
    join smp.send as s using (send_id)
    join crm.person as p using (person_id)
    where m.send_id = %(send_id)s and m.recipient_key = %(recipient_key)s
),
readers as (
    select person_id from mail
    union
    select p.person_id
    from mail
    join crm.person as p using (email_key)
    where md5('address:' || mail.email_key)::uuid = mail.recipient_key
),
noted as (
    insert into crm.consent (person_id, channel, topic, granted, changed_at, source, wording)
    select person_id, 'email', topic, false, %(now)s, %(source)s, %(wording)s
    from readers cross join unnest(%(topics)s::text[]) as topic
    order by person_id, topic
    on conflict (person_id, channel, topic) do update
    set granted = false, changed_at = excluded.changed_at, source = excluded.source, wording = excluded.wording
    where crm.consent.granted
    returning 1
),
made as (
    insert into smp.unsubscription (send_id, recipient_key, step, person_id, record_id, topics, happened_at, source)
    select send_id, recipient_key, step, person_id, record_id, %(topics)s, %(now)s, %(source)s
    from mail
    where exists (select 1 from noted)
    on conflict (send_id, recipient_key) do nothing
)
select count(*) from noted
