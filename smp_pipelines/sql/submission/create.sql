-- The new people of submissions of this transaction, with what they told of themselves.
insert into crm.person ({columns})
select {values}
from smp.submission as s
where s.submission_key = any (%(keys)s) and s.changed_tx = pg_current_xact_id() and s.identified = 'new'
