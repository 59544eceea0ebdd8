-- DuckDB. The mails that count for the frequency cap, as planning/received.sql counts them, of these people only.
select person_id, step, happened_at, send_id
from temp.near_moment
where received and person_id in ({people}) and happened_at > {since} and step not in ({exempt})
order by happened_at desc
