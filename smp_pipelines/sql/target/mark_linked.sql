-- Postgres. A step's group is laid down from these selection runs; its date is that of the first time. Of the runs of one
-- selection the latest counts: what was wrong with the audience before may have been put right.
insert into smp.target_group as g (step, linked_at, linked_by, selection_runs)
values (
    %(step)s, %(now)s, %(by)s,
    array(
        select max(selection_run_id) from smp.selection_run
        where selection_run_id = any (%(runs)s::bigint[]) group by selection order by 1
    )
)
on conflict (step) do update set selection_runs = array(
    select max(selection_run_id) from smp.selection_run
    where selection_run_id = any (g.selection_runs || excluded.selection_runs) group by selection order by 1
)
