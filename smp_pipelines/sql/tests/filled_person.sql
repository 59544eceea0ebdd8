-- DuckDB. Who has nothing in a column of the CRM's people; whoever is gone from there has not.
select c.person_id
from temp.chosen as c
left join crm.person as p on p.person_id = c.person_id
where p.{column} is null or trim(p.{column}::varchar) = ''
