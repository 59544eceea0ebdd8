-- Customers who bought often and for much, but not lately.
select person_id, recency
from selections.rfm_scores
where r between 2 and 3 and f >= 4 and m >= 4
