-- The best customers: they bought lately, often and for much.
select person_id
from selections.rfm_scores
where r = 5 and f >= 4 and m >= 4
