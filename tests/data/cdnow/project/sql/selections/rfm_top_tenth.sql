-- The customers whose orders together are worth more than those of nine tenths of the others; refunds and gifts count.
with spent as (
    select person_id, sum(amount) as amount
    from crm."order"
    group by person_id
)
select person_id, amount
from spent
where amount > (select quantile_cont(amount, 0.9) from spent)
