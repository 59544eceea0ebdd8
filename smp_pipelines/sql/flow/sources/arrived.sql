-- Who is in the selection and was not before.
create temporary table flow_arrived as
select y.person_id
from flow_yes as y
where not exists (
    select from flow_member as m
    where m.flow_id = %(flow_id)s and m.source = %(source)s and m.person_id = y.person_id
)
