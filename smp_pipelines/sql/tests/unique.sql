-- DuckDB. The rows that are there more than once, by their keys; each of them once for every time too many.
select person_id, unnest(range(rows - 1)) as place
from (
    select any_value({person}) as person_id, count(*) as rows
    from temp.chosen
    group by {keys}
    having count(*) > 1
)
