-- DuckDB. What these people received of these steps themselves. The lists are written into the query, as in received.sql.
select m.person_id, m.step, m.happened_at, m.record_id, m.person_id
from {moment} as m
where m.received and m.step in ({steps}) and m.person_id in ({people})
