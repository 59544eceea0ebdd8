-- Colleagues who check mails before visitors get them.
select person_id
from crm.person
where internal_test
