-- Remember what was seen. A clock that was set back does not take back what was looked at.
insert into flow_cursor as c (flow_id, source, seen, read_from, looked_at, since)
values (%(flow_id)s, %(source)s, %(seen)s::pg_snapshot, %(read_from)s::pg_snapshot, %(now)s, %(since)s)
on conflict (flow_id, source) do update
set seen = excluded.seen, read_from = excluded.read_from, looked_at = greatest(c.looked_at, excluded.looked_at)
