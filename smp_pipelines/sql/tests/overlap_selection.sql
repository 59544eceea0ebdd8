-- DuckDB. Who is in another selection as well.
select person_id from temp.chosen where person_id in (select person_id from {other} where person_id is not null)
