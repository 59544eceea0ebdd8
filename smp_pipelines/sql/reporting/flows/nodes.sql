-- Postgres. The steps of every version of every flow.
select n.version_id, n.node, f.flow, v.number as version, n.name as step, n.title, n.kind, n.step as mail
from smp.flow_node as n
join smp.flow_version as v using (version_id)
join smp.flow as f using (flow_id)
