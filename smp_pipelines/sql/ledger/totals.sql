select state::text, coalesce(reason, ''), count(*), min(retry_at), max(lease_until)
from smp.message
where send_id = %(send_id)s
group by state, reason
