-- Everyone who said yes to the newsletter by e-mail.
select person_id
from crm.consent
where channel = 'email' and topic = 'newsletter' and granted
