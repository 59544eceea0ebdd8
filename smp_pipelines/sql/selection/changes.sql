-- DuckDB. How many rows two audiences have, and how many came, went and stayed.
select
    count(*) filter (where side <> 2) as was,
    count(*) filter (where side <> 1) as now,
    count(*) filter (where side = 2) as entered,
    count(*) filter (where side = 1) as departed,
    count(*) filter (where side = 3) as stayed
from ({sides})
