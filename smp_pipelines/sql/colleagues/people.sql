-- Who has an id or an address, as it is compared.
select person_id, concat_ws(' ', first_name, infix, last_name)
from crm.person
where person_id = %(person_id)s or email_key = %(address)s
order by person_id
limit %(limit)s
