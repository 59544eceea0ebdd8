-- Whether the person of a mail has said no to all of these topics.
select count(*) filter (where k.granted is false) = cardinality(%(topics)s::text[])
from smp.message as m
join crm.consent as k on k.person_id = m.person_id and k.channel = 'email' and k.topic = any (%(topics)s)
where m.send_id = %(send_id)s and m.recipient_key = %(recipient_key)s
