-- Postgres. The sends that count for the frequency cap and that the lake, as it was read, does not know or
-- knows from before they changed.
select send_id
from smp.send
where purpose = 'live'
  and state <> 'planning'
  and moment > %(since)s
  and step <> all (%(exempt)s::text[])
  and send_id <> %(send_id)s
  and not pg_visible_in_snapshot(changed_tx, %(seen)s::pg_snapshot)
