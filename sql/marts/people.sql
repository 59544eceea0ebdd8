-- What one counts people by; no names, no addresses.
select
    person_id, language, city, year(birth_date) as birth_year, organisation_id,
    email_key is not null as has_email, blocked, created_at::date as created_on
from crm.person
where not internal_test
