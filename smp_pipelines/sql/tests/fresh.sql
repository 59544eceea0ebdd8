-- DuckDB. The newest row of a table at the run's moment, and whether it is new enough. What is dated later says nothing.
select
    strftime(max({column}), '%Y-%m-%d %H:%M') as newest,
    coalesce(max({column}) >= {now} - interval {within}, false) as fresh
from {table}
where {column} <= {now}
