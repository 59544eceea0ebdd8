-- Put who submitted, or confirmed, in this transaction on lists; of two lists with one name the first.
insert into crm.list_member (list_id, person_id, added_at)
select distinct on (chosen.list_id, s.person_id) chosen.list_id, s.person_id, coalesce(s.confirmed_at, s.submitted_at)
from smp.submission as s
cross join (
    select min(list_id) as list_id from crm.list where name = any (%(names)s) group by name
) as chosen
where s.submission_key = any (%(keys)s) and s.changed_tx = pg_current_xact_id()
order by chosen.list_id, s.person_id
on conflict do nothing
