-- Whether anybody in a flow that runs is due.
select exists (
    select from smp.flow as f
    where f.state in ('live', 'ending')
      and exists (
          select from participant as p where p.flow_id = f.flow_id and p.left_at is null and p.due_at <= %(now)s
      )
)
