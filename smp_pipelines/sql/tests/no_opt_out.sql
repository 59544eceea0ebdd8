-- DuckDB. Who said no to a topic.
select person_id
from temp.chosen
join crm.consent using (person_id)
where channel = {channel} and topic = {topic} and not granted
