-- DuckDB. Rows with nothing in a column that the selection gives.
select {person} as person_id
from temp.chosen
where {column} is null or trim({column}::varchar) = ''
