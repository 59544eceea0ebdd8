-- Postgres. The runs that a frozen group was linked from and that still count: not those of which a person overruled, for
-- a send of this step that was planned since, every blocking test that failed.
with failed as (
    select t.selection_run_id, exists (
        select from smp.audience_overrule as o
        join smp.audience_stop as p on p.send_id = o.send_id
        join smp.send as s on s.send_id = o.send_id
        where s.step = g.step and p.selection = t.selection and p.test = t.test and p.selection_run_id > t.selection_run_id
    ) as let_go
    from smp.target_group as g
    join smp.audience_test_result as t on t.selection_run_id = any (g.selection_runs)
    where g.step = %(step)s and t.blocking and not t.passed
)
select r.run
from smp.target_group as g
cross join lateral unnest(g.selection_runs) as r (run)
left join failed as f on f.selection_run_id = r.run
where g.step = %(step)s
group by r.run
having count(f.selection_run_id) = 0 or bool_or(not f.let_go)
order by r.run
