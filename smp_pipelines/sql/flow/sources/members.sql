-- Who is new in the selection is a member from now on. Nobody else writes here: the flow is held.
insert into flow_member (flow_id, source, person_id, since)
select %(flow_id)s, %(source)s, person_id, %(now)s from flow_arrived order by person_id
