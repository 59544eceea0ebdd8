-- DuckDB. Of a few people, everybody with each other one who has the same address.
select one.person_id, other.person_id
from temp.near_person as one
join temp.near_person as other on other.email_key = one.email_key and other.person_id <> one.person_id
