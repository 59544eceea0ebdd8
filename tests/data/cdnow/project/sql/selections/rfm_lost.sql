-- Customers who bought once or twice, for little and long ago.
select person_id
from selections.rfm_scores
where r = 1 and f <= 2 and m <= 2
