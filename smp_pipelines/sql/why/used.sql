-- DuckDB. Whom of these people other steps of the campaign used, as target/used_sends.sql has it: `every` other step's
-- sends, or those of steps that themselves leave out who was used, for the same or a later moment.
select c.person_id, c.step, c.happened_at
from temp.near_moment as c
where c.person_id in ({people})
  and c.step <> {step}
  and (
      {every} and starts_with(c.step, {campaign} || '/')
      or c.step in ({strict}) and c.send_id in (
          select send_id from smp.send where moment >= {moment} or planned_at >= {selected}
      )
  )
order by c.happened_at desc
