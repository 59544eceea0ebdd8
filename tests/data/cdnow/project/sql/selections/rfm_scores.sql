-- Every customer who ever ordered, with quintiles: days since the last order (5: the most recent), orders, amount.
-- Whoever is equal to somebody else goes by customer number.
with orders as (
    select
        person_id,
        current_date - max(ordered_on) as recency,
        count(*) as frequency,
        sum(amount) as monetary
    from crm."order"
    where ordered_on < current_date
    group by person_id
)
select
    person_id,
    recency,
    frequency,
    monetary,
    ntile(5) over (order by recency desc, person_id) as r,
    ntile(5) over (order by frequency, person_id) as f,
    ntile(5) over (order by monetary, person_id) as m
from orders
