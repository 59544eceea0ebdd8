-- What the link in a mail is about: the submissions that the mail's send was for, of its reader, and of whoever shares
-- the mailbox that this one mail was for. The latest is the first.
with mail as (
    select m.recipient_key, s.step, p.person_id, p.email_key
    from smp.message as m
    join smp.send as s using (send_id)
    join crm.person as p using (person_id)
    where m.send_id = %(send_id)s and m.recipient_key = %(recipient_key)s and s.purpose = 'live'
),
readers as (
    select person_id from mail
    union
    select p.person_id
    from mail
    join crm.person as p using (email_key)
    where md5('address:' || mail.email_key)::uuid = mail.recipient_key
)
select
    mail.step, s.submission_id, s.submission_key, s.form, s.step, s.record_id, s.consents, s.language,
    s.awaits_confirmation and s.confirmed_at is null as waits
from readers
join smp.submission as s using (person_id)
join smp.trigger_event as e using (submission_id)
cross join mail
where e.send_id = %(send_id)s and e.step = mail.step and s.awaits_confirmation
order by s.submission_id desc
