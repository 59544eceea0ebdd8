-- Postgres. The row counts of the runs before, newest first: what a volume is compared with. A run that this very test
-- stopped does not count, or after a few of them the wrong number would be the usual one; unless it was overruled.
select r.row_count
from smp.selection_run as r
where r.selection = %(selection)s
  and not exists (
      select from smp.audience_test_result as t
      where t.selection_run_id = r.selection_run_id and t.selection = r.selection and t.test = %(test)s
        and t.blocking and not t.passed
        and not exists (
            select from smp.send as s
            join smp.audience_overrule as o on o.new_send_id = s.send_id
            where s.selection_run_id = r.selection_run_id
        )
  )
order by r.selection_run_id desc
limit %(runs)s
