-- Postgres. A run that was made from others fails with them: it has the blocking tests that failed there as its own.
insert into smp.audience_test_result
    (selection_run_id, selection, test, words, passed, blocking, offending, detail, person_ids)
select %(run)s, selection, test, words, passed, blocking, offending, detail, person_ids
from smp.audience_test_result
where selection_run_id = any (%(made_from)s) and blocking and not passed
on conflict do nothing
