-- How many left each step of these versions, by the way that they took and what was noted: one walk over their steps.
select version_id, node, way, note, count(*) as people
from smp.participant_visit
where version_id = any (%(versions)s)
group by version_id, node, way, note
