-- DuckDB. Everybody who shares an address with these people, themselves included. No OR between the two conditions:
-- with it DuckDB would read every column of ten million people instead of leaving out what cannot match.
with asked as materialized (
    select person_id, email_key from crm.person where person_id in ({people})
)
select person_id from asked
union
select other.person_id
from crm.person as other
join asked on asked.email_key = other.email_key
