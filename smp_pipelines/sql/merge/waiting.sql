-- Postgres. Mails of flows that wait: of the same one to the same person, about the same record, the first goes.
update smp.trigger_event as e
set missed = 'merged'
from (
    select event_id, row_number() over (partition by step, person_id, record_id order by event_id) as nth
    from smp.trigger_event
    where cause = 'flow' and send_id is null and missed is null and person_id in (select smp_new from smp_merge)
) as waiting
where waiting.event_id = e.event_id and waiting.nth > 1
