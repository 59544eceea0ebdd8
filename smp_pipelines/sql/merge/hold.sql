-- Postgres. Be alone with the flows that these people are in, before anything else is held: whoever moves people along
-- (smp_pipelines.flow.tables.hold, the same key) has them in hand until it is done, and writes to person cards as well.
select pg_advisory_xact_lock(hashtextextended('flow ' || flow_id, 0))
from (
    select distinct f.flow_id
    from smp.flow as f
    join smp.participant as p using (flow_id)
    where p.person_id in (select id from smp_merge_id)
    order by f.flow_id
) as concerned
