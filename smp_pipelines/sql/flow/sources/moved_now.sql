-- Who moved here since the last look, until they are judged.
create temporary table flow_moved as
select e.*
from ({events}) as e
where happened_at >= %(since)s and {window}
