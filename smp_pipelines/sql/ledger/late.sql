-- Something was written down of a send after its lease: the mirror has to read the send again, and a
-- send that was finished meanwhile goes on when a row turned out never to have been handed over.
update smp.send as s
set changed_tx = pg_current_xact_id(),
    state = case when o.open then 'open' else s.state end,
    finished_at = case when o.open then null else s.finished_at end
from (
    select
        exists (select from smp.message where send_id = %(send_id)s and state = 'planned')
        or exists (select from smp.message where send_id = %(send_id)s and state = 'claimed') as open
) as o
where s.send_id = %(send_id)s
