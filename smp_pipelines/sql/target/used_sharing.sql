-- DuckDB. With one mail per address: whoever shares an address with somebody who was used.
insert into temp.used_in_campaign
select distinct other.person_id
from crm.person as one
join crm.person as other on other.email_key = one.email_key and other.person_id <> one.person_id
where one.person_id in (select person_id from temp.used_in_campaign)
