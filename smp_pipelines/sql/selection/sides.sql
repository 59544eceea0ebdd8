-- DuckDB. Every row of two audiences once, by its keys: side 1 was there, 2 is there, 3 both. A key may be null.
-- The names in braces are quoted identifiers and checked queries.
-- One aggregate over both: it takes duplicates and nulls as they are, and goes to disk when memory is short.
select {keys}, bit_or(side) as side
from (
    select {keys}, 1::utinyint as side from ({before})
    union all
    select {keys}, 2::utinyint as side from ({now})
)
group by {keys}
