select state::text, coalesce(reason, ''), count(*)
from smp.message
where send_id = %(send_id)s
group by state, reason
