-- Postgres. A flow that nobody enters any more and that everybody left has ended; gives its row when that is so now.
with ended as (
    update smp.flow as f set state = 'ended', since = %(now)s
    where f.flow_id = %(flow_id)s
      and f.state = 'ending'
      and not exists (
          select from smp.participant as p
          join smp.flow_version as v using (version_id)
          where v.flow_id = f.flow_id and p.left_at is null
      )
    returning f.flow_id
)
insert into smp.flow_change (flow_id, changed_at, changed_by, change, details, reason)
select flow_id, %(now)s, 'smp', 'ended', '{"from": "ending", "to": "ended"}', 'everybody has left' from ended
returning flow_id
