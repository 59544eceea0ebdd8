-- The rows of a form's own table, for submissions of this transaction: one each.
insert into {table} ({columns})
select {values}
from smp.submission as s
where s.submission_key = any (%(keys)s) and s.changed_tx = pg_current_xact_id()
