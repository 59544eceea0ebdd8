-- Postgres. The sends of a campaign whose people a send must leave out, and whether the lake knows them by now.
-- `every`: those of all other steps. `strict`: of steps that themselves leave out who was used, those for the same
-- or a later moment or planned after the people were selected: such a step was to leave these people out, and could not.
select send_id, pg_visible_in_snapshot(changed_tx, %(seen)s::pg_snapshot) as known
from smp.send
where purpose = 'live'
  and state <> 'planning'
  and step <> %(step)s
  and (
      %(every)s and starts_with(step, %(campaign)s || '/')
      or step = any (%(strict)s::text[]) and (moment >= %(moment)s or planned_at >= %(selected)s)
  )
