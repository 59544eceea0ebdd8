-- DuckDB. What changed between two audiences, by the predicate that made the difference, with the first of each.
-- In braces: the keys, the rows that changed (keys, change, selection, predicate) and how many of them to show.
select change, selection, predicate, count(*) as people, min(row({keys}), {limit}) as first_of_them
from {changed}
group by change, selection, predicate
order by change, people desc, selection, predicate
