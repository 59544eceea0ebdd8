-- Postgres. The same from the CRM itself, which has an index of addresses.
select other.person_id
from crm.person as one
join crm.person as other on other.email_key = one.email_key
where one.person_id = any (%(people)s)
