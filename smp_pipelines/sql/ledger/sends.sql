-- The latest sends, and every older one that is not finished; newest first.
with wanted as (
    select * from smp.send where %(step)s::text is null or step = %(step)s
)
select
    s.send_id,
    s.send_key,
    s.step,
    s.purpose,
    s.moment,
    s.state,
    s.planned,
    s.selection_run_id,
    (select count(*) from smp.message as m where m.send_id = s.send_id and m.state = 'planned') as waiting,
    (select count(*) from smp.message as m where m.send_id = s.send_id and m.state = 'claimed') as in_hand,
    (select count(*) from smp.message as m where m.send_id = s.send_id and m.state = 'unknown') as unknown,
    exists (select from smp.send_change as c where c.send_id = s.send_id and c.change = 'cancelled') as cancelled
from wanted as s
where s.state <> 'finished' or s.send_id in (select send_id from wanted order by send_id desc limit %(limit)s)
order by s.send_id desc
