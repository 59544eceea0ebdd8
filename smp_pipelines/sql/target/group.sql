-- DuckDB. Everybody of a target group once (with the linked record), without whom the campaign used already.
select distinct {columns}
from ({sources}) as g
where not exists (select 1 from temp.used_in_campaign as u where u.person_id = g.person_id)
