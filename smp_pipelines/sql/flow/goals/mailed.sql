-- Who is in a send that changed.
select m.person_id
from smp.send as s
join smp.message as m using (send_id)
where s.changed_tx >= %(mark)s::xid8
