-- What people told of themselves, in submissions of this transaction. By a personal link their answers replace what was
-- known; somebody who was only matched has what was empty filled in, and nothing overwritten: anybody can type an
-- address.
update crm.person as p
set {assignments}
from (
    select p.person_id, {news}
    from smp.submission as s
    join crm.person as p using (person_id)
    where s.submission_key = any (%(keys)s) and s.changed_tx = pg_current_xact_id() and s.identified <> 'new'
    order by p.person_id
    for no key update of p
) as n
where p.person_id = n.person_id and ({was}) is distinct from ({becomes})
