-- DuckDB. Who received a step, or is about to.
select person_id
from temp.chosen
where person_id in (select person_id from smp.contact_moment where step = {step} and received and person_id is not null)
